"""Filters through a live gateway: on requests and answers, whole and streamed, in every dialect."""

import json
from typing import Any

import httpx
import msgspec
import pytest

from modelyard.core.digests import digest_text
from modelyard.ports.limits import Limits, Tenant
from modelyard.ports.routes import Service
from modelyard.ports.serving import Breaker, Filter
from tests.gateway.flows.conftest import service
from tests.gateway.flows.engine import Rich
from tests.gateway.harness import AUTH, CHAT, Yard, eventually, variant

CARD = "4111 1111 1111 1111"
PIECES = ("My card is 4111 ", "1111 11", "11 1111", ", thanks.", " Bye.")
MASKED = "My card is [CARD], thanks. Bye."
DIALECTS = ("/v1/chat/completions", "/v1/messages", "/v1/responses")


def guarded(url: str, *filters: Filter, **changes: Any) -> Service:
    return service(url, filters=filters, **changes)


def body_of(path: str, text: str = "hello", **fields: Any) -> dict[str, Any]:
    if path == "/v1/responses":
        return {"model": "support", "input": text, **fields}
    return {"model": "support", "max_tokens": 50, "messages": [{"role": "user", "content": text}], **fields}


def told(path: str, stream: str) -> str:
    """The text that a stream tells."""
    out = ""
    for event in stream.split("\n\n"):
        data = event.rpartition("data: ")[2]
        if not data or data == "[DONE]":
            continue
        said = json.loads(data)
        if path == "/v1/chat/completions":
            out += said["choices"][0]["delta"].get("content") or "" if said.get("choices") else ""
        elif said["type"] in ("content_block_delta", "response.output_text.delta"):
            out += said["delta"] if isinstance(said["delta"], str) else said["delta"]["text"]
    return out


@pytest.mark.parametrize("path", DIALECTS)
def test_requests_are_refused_masked_or_logged(yard: Yard, engine: Rich, engine_url: str, path: str) -> None:
    words = Filter(kind="deny", on="request", options={"words": "sesame"})
    cards = Filter(kind="personal_data", on="request", action="mask")
    loud = Filter(kind="deny", on="request", action="log", options={"words": "hurry"})
    yard.publish(guarded(engine_url, words, cards, loud, body_policy="full"))
    refused = yard.post(path, json=body_of(path, "open sesame"))
    assert (refused.status_code, engine.requests) == (400, [])
    assert "sesame" not in refused.text
    assert yard.post(path, json=body_of(path, f"hurry, charge {CARD}")).status_code == 200
    assert CARD not in json.dumps(engine.requests[-1])
    assert "hurry, charge [CARD]" in json.dumps(engine.requests[-1])
    assert 'filtered_total{service="support",filter="personal_data",found="card"} 1' in yard.metrics()
    assert yard.metric("filtered_total") == 3
    (entry,) = yard.interactions(1)
    assert "[CARD]" in entry.request
    assert CARD not in entry.request


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize("kind", ["builtin", "vllm"])
def test_a_card_number_cut_over_pieces_is_masked(
    yard: Yard, engine: Rich, engine_url: str, path: str, kind: str
) -> None:
    engine.pieces, engine.say = PIECES, {"champ": "".join(PIECES)}
    cards = Filter(kind="personal_data", on="answer", action="mask")
    champion = variant("champ", engine_url, engine=kind)
    yard.publish(guarded(engine_url, cards, champion=champion, body_policy="hash"))
    answer = yard.post(path, json=body_of(path, stream=True))
    assert told(path, answer.text) == MASKED
    assert "1111" not in answer.text
    whole = yard.post(path, json=body_of(path))
    assert MASKED in whole.text
    entries = yard.interactions(2)
    assert [entry.answer_hash for entry in entries] == [digest_text(MASKED)] * 2
    assert [entry.finish_reason for entry in entries] == ["stop", "stop"]


@pytest.mark.parametrize("path", DIALECTS)
def test_a_refusal_in_mid_stream_ends_it(yard: Yard, engine: Rich, engine_url: str, path: str) -> None:
    engine.pieces, engine.piece_delay_s = ("All is well. ", "Now sesame ", "opens. ", *["more "] * 100), 0.02
    words = Filter(kind="deny", on="answer", options={"words": "sesame"})
    limits = Limits(tokens_per_minute=10_000, concurrency=1)
    breaker = Breaker(failures=1, open_s=60)
    yard.publish(guarded(engine_url, words, breaker=breaker), tenants=(Tenant(name="acme", limits=limits),))
    answer = yard.post(path, json=body_of(path, stream=True))
    assert told(path, answer.text) == "All is well. Now "
    assert "sesame" not in answer.text
    last = {"/v1/messages": '"type":"error"', "/v1/responses": '"code":"content_filter"'}.get(path, "content_filter")
    assert last in answer.text.split("Now", 1)[1]
    eventually(lambda: engine.ended == 1, seconds=2)
    (entry,) = yard.interactions(1)
    assert (entry.status, entry.error, entry.finish_reason) == (400, "content_filter", "content_filter")
    assert entry.completion_tokens >= 2
    assert entry.cost_nanousd > 0
    engine.piece_delay_s = 0
    # Its place and its tokens were given back, and the engine did not fail.
    again = yard.post(path, json=body_of(path))
    assert again.status_code == 200
    assert int(again.headers["x-ratelimit-remaining-tokens"]) > 9_500


@pytest.mark.parametrize("path", DIALECTS)
def test_a_refused_answer_is_not_asked_for_again(yard: Yard, engine: Rich, engine_url: str, path: str) -> None:
    engine.pieces, engine.say = ("sesame opens",), {"champ": "sesame opens"}
    words = Filter(kind="deny", on="answer", options={"words": "sesame"})
    other = msgspec.structs.replace(variant("spare", engine_url, engine="builtin"), name="spare")
    fields: Any = {"variants": (other,), "fallbacks": ("spare",)}
    yard.publish(guarded(engine_url, words, **fields))
    whole = yard.post(path, json=body_of(path))
    assert whole.status_code == 400
    yard.post(path, json=body_of(path, stream=True))
    assert [request["model"] for request in engine.requests] == ["champ", "champ"]
    told = [(entry.status, entry.error, entry.finish_reason) for entry in yard.interactions(2)]
    assert told == [(400, "content_filter", "content_filter")] * 2
    # The engine made them, so they are paid for.
    made, streamed = yard.interactions(2)
    assert (made.prompt_tokens, made.completion_tokens, made.cost_nanousd) == (11, 3, 17_000)
    assert streamed.completion_tokens == 1
    assert streamed.cost_nanousd > 0


def test_the_journal_is_masked(yard: Yard, engine: Rich, engine_url: str) -> None:
    engine.pieces = PIECES
    yard.publish(service(engine_url, body_policy="masked"))
    answer = httpx.post(
        f"{yard.url}/v1/chat/completions",
        json={**CHAT, "stream": True, "messages": [{"role": "user", "content": "ann@example.com"}]},
        headers=AUTH,
    )
    assert "1111" in answer.text
    (entry,) = yard.interactions(1)
    assert entry.answer == MASKED
    assert "[EMAIL]" in entry.request
    assert "ann@" not in entry.request
