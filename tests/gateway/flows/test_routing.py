"""Who answers and why, through a live gateway."""

from typing import Any

import httpx
import msgspec
import pytest

from modelyard.core.assignment import position
from modelyard.ports.limits import Limits, Tenant
from modelyard.ports.serving import Condition, Filter, Preference, Rule
from tests.gateway.flows.conftest import service
from tests.gateway.flows.engine import Rich
from tests.gateway.harness import AUTH, CHAT, Yard, eventually, key_of, serving, variant

OTHER = "sk-yard-other"


def named(name: str, url: str, **changes: Any) -> Any:
    return msgspec.structs.replace(variant(name, url, engine="builtin", **changes), name=name)


def ask(yard: Yard, body: dict[str, Any] = CHAT, path: str = "/v1/chat/completions", **headers: str) -> httpx.Response:
    given = {**AUTH, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return httpx.post(yard.url + path, json=body, headers=given)


def test_rules_by_tenant_header_and_share(yard: Yard, engine: Rich, engine_url: str) -> None:
    rules = (
        Rule(name="gold", variant="big", when=(Condition(attribute="tenant", values=("gold",)),)),
        Rule(name="beta", variant="new", when=(Condition(attribute="header:x-beta", op="exists"),)),
        Rule(name="some", variant="big", share_bp=3000),
    )
    variants = (named("big", engine_url), named("new", engine_url))
    gold = msgspec.structs.replace(key_of(OTHER, id="key-2"), tenant="gold")
    yard.publish(service(engine_url, variants=variants, rules=rules), keys=(key_of(), gold))
    answer = ask(yard, authorization=f"Bearer {OTHER}")
    assert (answer.headers["x-modelyard-release"], answer.headers["x-modelyard-role"]) == ("big@123", "alternative")
    ask(yard, x_beta="yes", x_modelyard_unit="ann")
    units = [f"unit-{place}" for place in range(20)]
    for unit in units:
        ask(yard, x_modelyard_unit=unit)
    entries = yard.interactions(22)
    told = [(entry.release, entry.reason, entry.propensity) for entry in entries]
    assert told[:2] == [("sha256:big", "rule gold", 1.0), ("sha256:new", "rule beta", 1.0)]
    lucky = [position("some", unit) < 3000 for unit in units]
    assert 0 < sum(lucky) < 20
    for one, is_lucky in zip(told[2:], lucky, strict=True):
        assert one == (("sha256:big", "rule some", 0.3) if is_lucky else ("sha256:champ", "champion", 1.0))


def test_a_session_keeps_to_its_replica(yard: Yard, engine: Rich, engine_url: str) -> None:
    second = Rich()
    with serving(second) as other_url:
        champion = variant("champ", engine_url, engine="openai", replicas=(other_url,))
        yard.publish(service(engine_url, champion=champion))
        turns = [{"role": "user", "content": "hello"}]
        for place in range(8):
            for _ in range(4):
                body = {**CHAT, "messages": [{"role": "user", "content": f"turn {len(turns)}"}]}
                turns.append(body)
                ask(yard, body, x_modelyard_session=f"session-{place}")
        entries = yard.interactions(32)
    homes = {session: {e.replica for e in entries if e.session == session} for session in {e.session for e in entries}}
    assert len(homes) == 8
    assert all(len(replicas) == 1 for replicas in homes.values())
    assert len({replica for replicas in homes.values() for replica in replicas}) == 2
    assert len(engine.requests) + len(second.requests) == 32


def preferring(url: str, *order: str, **changes: Any) -> Any:
    preference = Preference(order=order, min_confidence=0.8)
    variants = tuple(named(name, url) for name in order if name != "champion")
    return service(url, preference=preference, variants=variants, **changes)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", CHAT),
        ("/v1/completions", {"model": "support", "prompt": "hello"}),
        ("/v1/messages", {**CHAT, "max_tokens": 50}),
        ("/v1/responses", {"model": "support", "input": "hello"}),
    ],
)
def test_an_engine_that_is_not_sure_is_not_the_last(
    yard: Yard, engine: Rich, engine_url: str, path: str, body: dict[str, Any]
) -> None:
    engine.logprob = {"small": -1.0}
    limits = Limits(tokens_per_minute=10_000, daily_nanousd=10**9)
    yard.publish(preferring(engine_url, "small", "champion"), tenants=(Tenant(name="acme", limits=limits),))
    answer = ask(yard, body, path)
    assert "I am champ" in answer.text
    assert answer.headers["x-modelyard-release"] == "champ@123"
    assert "logprobs" in engine.requests[0]
    assert not engine.requests[1].get("logprobs")
    given, unsure = yard.interactions(2)
    assert (unsure.release, unsure.reason, unsure.status) == ("sha256:small", "preferred small", 200)
    assert (given.release, given.reason) == ("sha256:champ", "escalated confidence")
    assert unsure.cost_nanousd == given.cost_nanousd == 17_000
    assert unsure.id != given.id
    assert 'escalations_total{service="support",why="confidence"} 1' in yard.metrics()
    assert unsure.request_id == given.request_id
    assert int(ask(yard, body, path).headers["x-ratelimit-remaining-tokens"]) < 10_000 - 2 * 14


def test_a_sure_engine_answers_and_its_logprobs_stay_here(yard: Yard, engine: Rich, engine_url: str) -> None:
    yard.publish(preferring(engine_url, "small", "champion"))
    choice = ask(yard).json()["choices"][0]
    assert engine.requests[0]["logprobs"] is True
    assert (choice["message"]["content"], choice["logprobs"]) == ("I am small", None)
    told = ask(yard, {**CHAT, "logprobs": True, "top_logprobs": 0}).json()["choices"][0]
    assert told["logprobs"]["content"][0]["logprob"] == -0.01
    ask(yard, {**CHAT, "stream": True})
    assert "logprobs" not in engine.requests[-1]
    assert [entry.release for entry in yard.interactions(3)] == ["sha256:small"] * 3


def test_an_unsure_answer_is_better_than_none(yard: Yard, engine: Rich, engine_url: str) -> None:
    engine.logprob = {"small": -1.0, "middle": -1.0}
    engine.fault = {"champ": "500"}
    yard.publish(preferring(engine_url, "small", "middle", "champion"))
    answer = ask(yard)
    assert (answer.status_code, answer.json()["choices"][0]["message"]["content"]) == (200, "I am middle")
    entries = {entry.release: entry for entry in yard.interactions(3)}
    assert {name: entry.status for name, entry in entries.items()} == {
        "sha256:small": 200,
        "sha256:middle": 200,
        "sha256:champ": 500,
    }
    assert answer.json()["id"] == entries["sha256:middle"].id


def test_a_caller_that_leaves_pays_for_what_was_asked(yard: Yard, engine: Rich, engine_url: str) -> None:
    engine.logprob = {"small": -1.0}
    engine.fault = {"champ": "hang"}
    yard.publish(preferring(engine_url, "small", "champion"))
    with pytest.raises(httpx.ReadTimeout):
        yard.post(timeout=0.5)
    eventually(lambda: engine.left == 1)
    entries = {entry.release: entry.status for entry in yard.interactions(2)}
    assert entries == {"sha256:small": 200, "sha256:champ": 499}


def test_filters_and_confidence_together(yard: Yard, engine: Rich, engine_url: str) -> None:
    engine.logprob, engine.say = {"small": -1.0}, {"small": "sesame", "champ": "ann@example.com"}
    filters = (Filter(kind="personal_data", on="answer", action="mask"),)
    yard.publish(preferring(engine_url, "small", "champion", filters=filters))
    assert ask(yard).json()["choices"][0]["message"]["content"] == "[EMAIL]"
