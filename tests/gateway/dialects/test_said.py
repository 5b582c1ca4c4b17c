"""Said of requests: what is read, what is refused, what passes."""

import json
from typing import Any

import pytest
from msgspec import Raw

from modelyard.gateway.dialects.dialect import KINDS
from modelyard.gateway.dialects.messages.counting import counted, tokenize_request
from modelyard.gateway.dialects.said import Kind, Said
from modelyard.gateway.errors import Refusal, UpstreamFailed

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def facts(kind: Kind, **fields: Any) -> Said:
    return Said(kind, json.dumps(fields).encode())


def test_what_is_read() -> None:
    chat = facts("chat", **CHAT, max_tokens=5, max_completion_tokens=7, n=2, user="u", stream=True, odd={"x": 1})
    assert (chat.model, chat.max_output_tokens, chat.n, chat.user, chat.stream) == ("m", 7, 2, "u", True)
    assert bytes(chat.fields["odd"]) == b'{"x": 1}'
    assert json.loads(chat.last_turn) == CHAT["messages"][-1]
    assert facts("messages", **CHAT, metadata={"user_id": "u"}).user == "u"
    assert facts("completions", prompt=["a", "b"], best_of=3).n == 6
    assert facts("completions", prompt=[1, 2]).n == 1
    assert facts("responses", input="hi", previous_response_id="r").previous == "r"
    assert len(facts("chat", messages=CHAT["messages"] * 10_000).fields) == 1


def test_images_do_not_count_by_their_letters() -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}}
    assert facts("chat", messages=[{"role": "user", "content": [part]}]).prompt_chars < 5000


def test_deterministic_requests() -> None:
    assert facts("chat", **CHAT, temperature=0).is_deterministic()
    assert facts("chat", **CHAT).is_deterministic(0.0)
    assert not facts("chat", **CHAT).is_deterministic()
    assert not facts("chat", **CHAT, temperature=0, n=2).is_deterministic()
    assert not facts("responses", input="x", temperature=0, tools=[{"type": "web_search"}]).is_deterministic()
    assert facts("embeddings", input="x").is_deterministic()


@pytest.mark.parametrize(
    ("kind", "fields", "param"),
    [
        ("chat", {**CHAT, "max_tokens": -1}, "max_tokens"),
        ("chat", {**CHAT, "n": 0}, "n"),
        ("chat", {**CHAT, "stream": "yes"}, "stream"),
        ("chat", {"messages": []}, "messages"),
        ("chat", {"messages": [{"content": "x"}]}, "messages[0]"),
        ("messages", {**CHAT, "max_tokens": 0}, "max_tokens"),
        ("responses", {"input": "x", "max_output_tokens": -5}, "max_output_tokens"),
        ("embeddings", {}, "input"),
    ],
)
def test_what_is_certainly_wrong_is_refused(kind: Kind, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Refusal) as caught:
        facts(kind, **fields)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"x":NaN}', b'{"x":"\xff"}', b'{"x":' + b"[" * 100_000, b""])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    for kind in KINDS.values():
        with pytest.raises(Refusal) as caught:
            Said(kind, body)
        assert caught.value.status == 400


def test_counting_over_an_engine_that_tokenizes() -> None:
    asked = facts("messages", **CHAT, system="Be kind.", max_tokens=5)
    sent = json.loads(tokenize_request(asked.fields, asked.body, Raw(b'"qwen"')))
    assert sent == {"model": "qwen", "messages": [{"role": "system", "content": "Be kind."}, *CHAT["messages"]]}
    assert counted(b'{"count":12,"tokens":[]}') == b'{"input_tokens":12}'
    with pytest.raises(UpstreamFailed):
        counted(b'{"tokens":[]}')
