"""Chunks and whole answers through the filters: texts are covered, everything else stays as it came."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.gateway.errors import Refusal
from modelyard.gateway.guards.chunks import ChunkGuard, error_event, guarded_body
from modelyard.gateway.guards.filters import AnswerGuard, Guards
from modelyard.ports.serving import Filter

MASKING = Filter(kind="personal_data", action="mask")


def answer_guard(*filters: Filter) -> AnswerGuard:
    guards = Guards.build(filters or (MASKING,))
    assert guards is not None
    answer = guards.answer()
    assert answer is not None
    return answer


def chunk(delta: dict[str, Any], index: int = 0, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish, **more}
    return msgspec.json.encode({"id": "c-1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]})


def through(guard: ChunkGuard, *chunks: bytes) -> list[dict[str, Any]]:
    out = []
    for one in chunks:
        fed = guard.feed(one)
        assert not isinstance(fed, Refusal)
        out += fed
    rest = guard.finish()
    assert not isinstance(rest, Refusal)
    return [msgspec.json.decode(one) for one in [*out, *rest]]


def said(chunks: list[dict[str, Any]], part: str = "content", index: int = 0) -> str:
    choices = [choice for one in chunks for choice in one["choices"] if choice["index"] == index]
    return "".join(choice["delta"].get(part) or "" for choice in choices)


@given(
    st.lists(
        st.sampled_from(["Write to ", "ana", "@", "example.com", " soon. ", '"q"\n', "ü", " 4111 ", "ok "]), max_size=12
    )
)
@settings(max_examples=100, deadline=None)
def test_what_arrives_is_the_whole_text_filtered(pieces: list[str]) -> None:
    whole = answer_guard()
    first, rest = whole.feed(0, "".join(pieces)), whole.finish(0)
    assert isinstance(first, str)
    assert isinstance(rest, str)
    chunks = [chunk({"role": "assistant"}), *(chunk({"content": piece}) for piece in pieces), chunk({}, finish="stop")]
    out = through(ChunkGuard(answer_guard()), *chunks)
    assert said(out) == first + rest
    assert [one["choices"][0]["finish_reason"] for one in out][-1] == "stop"


def test_a_chunk_of_which_nothing_changes_is_the_very_bytes_that_came() -> None:
    odd = b'{ "choices" : [ {"delta":{"content":"All. "}, "index":0 } ],  "x":1.50e3 , "y": "\\u0041"}'
    guard = ChunkGuard(answer_guard(Filter(kind="deny", action="mask", options={"words": "zebra"})))
    assert guard.feed(odd) == [odd]


def test_only_the_piece_of_a_chunk_is_replaced() -> None:
    came = (
        b'{"x":1.50e3,"choices":[{"index":0,"delta":{"content":"a zebra runs","extra":{"b": [1, 2]}}}],'
        b'  "y": "\\u0041"}'
    )
    guard = ChunkGuard(answer_guard(Filter(kind="deny", action="mask", options={"words": "zebra"})))
    assert guard.feed(came) == [came.replace(b"zebra", b"[DENIED]")]


def test_a_chunk_that_says_the_same_twice_is_taken_by_its_members() -> None:
    came = b'{"choices":[{"index":0,"delta":{"content":"a zebra runs"},"was":{"content":"a zebra runs"}}]}'
    guard = ChunkGuard(answer_guard(Filter(kind="deny", action="mask", options={"words": "zebra"})))
    assert guard.feed(came) == [
        b'{"choices":[{"index":0,"delta":{"content":"a [DENIED] runs"},"was":{"content":"a zebra runs"}}]}'
    ]


def test_logprobs_tell_nothing_of_what_was_covered() -> None:
    tokens = {"content": [{"token": "ana@example.com", "logprob": -0.1, "bytes": [97]}]}
    out = through(ChunkGuard(answer_guard()), chunk({"content": "ana@example.com "}, logprobs=tokens))
    assert [choice["logprobs"] for one in out for choice in one["choices"] if "logprobs" in choice] == [None]
    body = {"choices": [{"index": 0, "message": {"content": "x"}, "logprobs": tokens}]}
    whole = guarded_body(answer_guard(), msgspec.json.encode(body))
    assert not isinstance(whole, Refusal)
    assert b"ana@" not in whole


def test_reasoning_and_several_choices_are_filtered_apart() -> None:
    both = msgspec.json.encode(
        {"choices": [{"index": 0, "delta": {"content": "ana@"}}, {"index": 1, "delta": {"content": "exa"}}]}
    )
    out = through(
        ChunkGuard(answer_guard()),
        chunk({"reasoning_content": "her mail bob@example"}),
        both,
        chunk({"content": "example.com"}),
        chunk({"content": "mple.com"}, index=1),
        chunk({}, finish="stop"),
    )
    assert said(out) == "[EMAIL]"
    assert said(out, index=1) == "example.com"
    assert said(out, "reasoning_content") == "her mail bob@example"


def test_tool_arguments_come_whole_and_covered_and_stay_json() -> None:
    arguments = '{"to":"x\\nana@example.com","n":4111111111111111}'
    pieces = [arguments[at : at + 5] for at in range(0, len(arguments), 5)]
    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "send", "arguments": ""}}
    chunks = [chunk({"role": "assistant", "content": None, "tool_calls": [first]})]
    chunks += [chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}) for piece in pieces]
    out = through(ChunkGuard(answer_guard()), *chunks, chunk({}, finish="tool_calls"))
    calls = [call for one in out for call in one["choices"][0]["delta"].get("tool_calls", [])]
    assert calls[0]["id"] == "call_1"
    joined = "".join(call["function"]["arguments"] for call in calls)
    assert msgspec.json.decode(joined) == {"to": "x\n[EMAIL]", "n": 4111111111111111}
    assert out[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_completions_are_filtered_too() -> None:
    chunks = [
        msgspec.json.encode({"choices": [{"index": 0, "text": piece, "finish_reason": finish}]})
        for piece, finish in [("mail ana@", None), ("example.com", None), ("", "length")]
    ]
    out = through(ChunkGuard(answer_guard()), *chunks)
    assert "".join(one["choices"][0].get("text") or "" for one in out) == "mail [EMAIL]"
    body = b'{"id":"x", "choices":[{"index":0,"text":"mail ana@example.com"}],"usage":{"total_tokens":3}}'
    assert guarded_body(answer_guard(), body) == (
        b'{"id":"x","choices":[{"index":0,"text":"mail [EMAIL]"}],"usage":{"total_tokens":3}}'
    )


def test_the_last_piece_may_come_with_the_finish_reason() -> None:
    guard = ChunkGuard(answer_guard())
    out = through(guard, chunk({"content": "write ana@"}), chunk({"content": "example.com or not"}, finish="stop"))
    assert [one["choices"][0]["delta"]["content"] for one in out] == ["write ", "[EMAIL] or not"]


def test_what_is_held_at_a_cut_still_goes_out() -> None:
    out = through(ChunkGuard(answer_guard()), chunk({"content": "so long"}))
    assert said(out) == "so long"
    assert out[-1]["id"] == "c-1"


def test_what_is_no_chunk_passes_and_an_untouched_body_is_the_same_object() -> None:
    guard = ChunkGuard(answer_guard())
    for data in (b'{"error":{"message":"x"}}', b"not json", b"[1]", b'{"choices":[]}', b'{"choices":"x"}', b"\xff"):
        assert guard.feed(data) == [data]
    body = b'{ "choices": [{"index": 0, "message": {"content": "fine"}}] }'
    assert guarded_body(answer_guard(), body) is body


def test_a_refused_stream_ends_with_an_error_event() -> None:
    guard = ChunkGuard(answer_guard(Filter(kind="deny", options={"words": "zebra"})))
    refused = guard.feed(chunk({"content": "a zebra runs"}))
    assert isinstance(refused, Refusal)
    event, done, _ = error_event(refused).split(b"\n\n")
    assert msgspec.json.decode(event.removeprefix(b"data: "))["error"]["code"] == "content_filter"
    assert done == b"data: [DONE]"
    body = msgspec.json.encode({"choices": [{"index": 0, "message": {"content": "a zebra"}}]})
    assert isinstance(guarded_body(answer_guard(Filter(kind="deny", options={"words": "zebra"})), body), Refusal)
