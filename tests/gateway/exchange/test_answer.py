"""Answers rewritten: what is stamped, what is noted, what is left alone."""

import json
from typing import Any

import msgspec
import pytest

from modelyard.gateway.errors import UpstreamFailed
from modelyard.gateway.exchange.stream import Stream


def answer(*, show_usage: bool = False) -> Stream:
    return Stream("our-id", msgspec.Raw(b'"support"'), show_usage=show_usage)


def event(**fields: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps({"id": "theirs", "model": "m", **fields}).encode()


def said(text: str, index: int = 0) -> dict[str, Any]:
    return {"index": index, "delta": {"content": text}}


def test_legacy_stream_and_its_text() -> None:
    stream = answer()
    out = stream.feed(event(choices=[{"index": 0, "text": "a"}]) + event(choices=[{"index": 0, "text": "b"}]))
    assert stream.text == "ab"
    assert out.count(b"our-id") == out.count(b"support") == 2


def test_text_is_that_of_the_first_choice() -> None:
    stream = answer()
    stream.feed(event(choices=[said("no", 1)]) + event(choices=[said("yes")]))
    assert stream.text == "yes"
    assert stream.completion_tokens == 2


def test_tool_calls_and_reasoning_are_a_first_token_too() -> None:
    for delta in ({"tool_calls": [{"index": 0}]}, {"reasoning_content": "hm"}):
        stream = answer()
        stream.feed(event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}]))
        assert not stream.spoke
        stream.feed(event(choices=[{"index": 0, "delta": delta}]))
        assert stream.spoke


def test_the_engines_count_replaces_ours() -> None:
    stream = answer()
    stream.feed(event(choices=[said("a")]) + event(choices=[said("b")]))
    stream.feed(event(choices=[], usage={"prompt_tokens": 5, "completion_tokens": 9}))
    assert (stream.prompt_tokens, stream.completion_tokens) == (5, 9)


def test_usage_beside_choices_is_taken_out_and_the_choices_stay() -> None:
    counted = event(choices=[said("a")], usage={"prompt_tokens": 5, "completion_tokens": 1})
    stream = answer()
    seen = json.loads(stream.feed(counted)[6:])
    assert "usage" not in seen
    assert seen["choices"] == [said("a")]
    assert stream.prompt_tokens == 5
    assert json.loads(answer(show_usage=True).feed(counted)[6:])["usage"]["prompt_tokens"] == 5


@pytest.mark.parametrize("strange", [b": ping\n\n", b"data: not json\n\n", b"data: [1]\n\n", b"event: x\n\n"])
def test_what_is_no_chunk_passes_untouched(strange: bytes) -> None:
    assert answer().feed(strange) == strange


def test_error_events_pass_and_are_noted() -> None:
    stream = answer()
    fault = b'data: {"error": {"message": "no", "code": "overloaded"}}\n\n'
    assert stream.feed(fault) == fault
    assert stream.fault == "overloaded"


def test_nothing_passes_after_done() -> None:
    stream = answer()
    assert stream.feed(b"data: [DONE]\n\n" + event(choices=[said("late")])) == b""
    assert stream.done == b"data: [DONE]\n\n"


def test_an_endless_event_is_refused() -> None:
    stream = answer()
    for _ in range(8):
        stream.feed(b"x" * ((1 << 20) - 1))
    with pytest.raises(UpstreamFailed):
        stream.feed(b"x" * 16)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"choices": 1}', b'{"choices": [{"index": 0}], "id": "\xff'])
def test_bodies_that_are_no_answer(body: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        answer().rewrite(body)


def test_content_in_parts_passes() -> None:
    body = b'{"choices": [{"index": 0, "message": {"content": [{"type": "text"}]}, "finish_reason": "stop"}]}'
    noted = answer()
    assert json.loads(noted.rewrite(body))["id"] == "our-id"
    assert (noted.text, noted.finish_reason) == ("", "stop")
