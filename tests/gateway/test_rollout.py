"""What a rollout asks of the gateway: sticky shares, unseen shadows, challengers that cannot hurt."""

from typing import Any

import httpx
import pytest

from modelyard.core.digests import digest_text
from modelyard.ports.routes import Service
from tests.gateway.harness import AUTH, CHAT, Yard, eventually, variant
from tests.gateway.upstream import Engine


def service(url: str, **changes: Any) -> Service:
    fields: dict[str, Any] = {
        "name": "support",
        "champion": variant("champ", url),
        "challenger": variant("chall", url),
        "salt": "s1",
        "rollout_id": "rollout-1",
        "body_policy": "hash",
        **changes,
    }
    return Service(**fields)


def roles(yard: Yard, users: range) -> dict[int, str]:
    with httpx.Client(base_url=yard.url, headers=AUTH) as client:
        answers = {user: client.post("/v1/chat/completions", json={**CHAT, "user": f"u{user}"}) for user in users}
    assert {answer.status_code for answer in answers.values()} == {200}
    return {user: answer.headers["x-modelyard-role"] for user, answer in answers.items()}


def test_assignment_is_sticky_and_a_ramp_only_adds_units(yard: Yard, engine_url: str) -> None:
    users = range(40)
    challenged: set[int] = set()
    for weight in (0, 2000, 5000, 10_000):
        yard.publish(service(engine_url, weight_bp=weight))
        seen = roles(yard, users)
        assert roles(yard, range(10)) == {user: seen[user] for user in range(10)}
        now = {user for user, role in seen.items() if role == "challenger"}
        assert challenged <= now
        challenged = now
    assert challenged == set(users)


def test_propensity_and_rollout_are_recorded(yard: Yard, engine_url: str) -> None:
    yard.publish(service(engine_url, weight_bp=2500))
    roles(yard, range(20))
    entries = yard.interactions()
    assert {(entry.role, entry.propensity) for entry in entries} == {("champion", 0.75), ("challenger", 0.25)}
    assert {entry.rollout_id for entry in entries} == {"rollout-1"}
    assert {entry.release for entry in entries if entry.role == "challenger"} == {"sha256:chall"}


@pytest.mark.parametrize(
    ("fault", "stream"),
    [(fault, stream) for fault in ("500", "503", "400", "dead") for stream in (False, True)]
    + [("garbage", False), ("first_error", True), ("error_event", True)],
)
def test_champion_answers_for_a_failed_challenger(
    yard: Yard, engine: Engine, engine_url: str, fault: str, stream: bool
) -> None:
    engine.fault["chall"] = fault
    url = "http://127.0.0.1:9" if fault == "dead" else engine_url
    yard.publish(service(engine_url, challenger=variant("chall", url), weight_bp=10_000))
    answer = yard.post(json={**CHAT, "stream": stream, "user": "ann"})
    failed, entry = yard.interactions()
    assert answer.status_code == 200
    assert answer.headers["x-modelyard-role"] == "champion"
    assert "champ" in answer.text
    assert (failed.role, failed.rollout_id, failed.release) == ("challenger", "rollout-1", "sha256:chall")
    assert failed.status >= 400
    assert failed.error
    assert (entry.role, entry.status, entry.rollout_id) == ("champion", 200, "")
    assert entry.id in answer.text
    assert failed.id not in answer.text
    assert failed.unit == entry.unit


def test_challenger_that_hangs_is_replaced_too(hasty: Yard, engine: Engine, engine_url: str) -> None:
    engine.fault["chall"] = "hang"
    hasty.publish(service(engine_url, weight_bp=10_000))
    assert hasty.post().headers["x-modelyard-role"] == "champion"
    assert [entry.status for entry in hasty.interactions()] == [504, 200]


@pytest.mark.parametrize("stream", [False, True])
def test_shadow_is_recorded_and_never_seen(yard: Yard, engine_url: str, stream: bool) -> None:
    yard.publish(service(engine_url, shadow=True))
    answer = yard.post(json={**CHAT, "stream": stream})
    primary, shadow = yard.interactions(2)
    assert "chall" not in answer.text
    assert (primary.role, primary.shadow_of) == ("champion", "")
    assert (shadow.role, shadow.shadow_of, shadow.status) == ("shadow", primary.id, 200)
    assert (shadow.release, shadow.tenant, shadow.unit) == ("sha256:chall", "acme", primary.unit)
    assert shadow.answer_hash == digest_text("I am chall")
    assert shadow.cost_nanousd > 0


def test_shadow_copies_the_champions_share_only(yard: Yard, engine_url: str) -> None:
    yard.publish(service(engine_url, shadow=True, weight_bp=5000))
    seen = roles(yard, range(16))
    num_champion = list(seen.values()).count("champion")
    entries = yard.interactions(16 + num_champion)
    shadows = {entry.shadow_of for entry in entries if entry.role == "shadow"}
    assert shadows == {entry.id for entry in entries if entry.role == "champion"}


def test_failed_shadow_fails_no_one(yard: Yard, engine: Engine, engine_url: str) -> None:
    engine.fault["chall"] = "cut"
    yard.publish(service(engine_url, shadow=True))
    assert "[DONE]" in yard.post(json={**CHAT, "stream": True}).text
    _, shadow = yard.interactions(2)
    assert (shadow.role, shadow.status, shadow.error) == ("shadow", 502, "upstream_cut")


def test_shadows_over_the_limit_are_dropped_and_counted(tmp_path: Any, engine: Engine, engine_url: str) -> None:
    engine.fault["chall"] = "hang"
    with Yard(tmp_path).open(max_shadows=2, drain_s=0.2) as yard:
        yard.publish(service(engine_url, shadow=True))
        assert {yard.post().status_code for _ in range(5)} == {200}
        assert (yard.metric("shadows_in_flight"), yard.metric("shadows_dropped_total")) == (2, 3)
    eventually(lambda: engine.left == 2)


def test_no_request_fails_while_a_challenger_dies_under_load(yard: Yard, engine: Engine, engine_url: str) -> None:
    yard.publish(service(engine_url, weight_bp=5000))
    for fault in ("", "500", "garbage", ""):
        engine.fault["chall"] = fault
        roles(yard, range(20))
    entries = yard.interactions()
    assert [entry.status for entry in entries if entry.role == "champion"].count(200) >= 40
    assert sum(entry.status >= 500 for entry in entries if entry.role == "challenger") > 0
