"""Streams translated and passed: cut anywhere, broken in every way, counted."""

import json
import re
from typing import Any

import msgspec
import pytest

from modelyard.gateway.dialects.dialect import reader_for
from modelyard.gateway.dialects.messages.passing import Passing as MessagesPassing
from modelyard.gateway.dialects.passing import Embeddings
from modelyard.gateway.dialects.responses.passing import Passing as ResponsesPassing
from modelyard.gateway.dialects.responses.passing import their_id
from modelyard.gateway.dialects.said import Kind, Said
from modelyard.gateway.errors import UpstreamFailed
from tests.gateway.dialects.scripted import MODEL, call, chunk, stream, translated, whole

DONE = b"data: [DONE]\n\n"
MIXED = stream(
    chunk({"reasoning_content": "Hm\u00f8."}),
    chunk({"content": "Hi"}),
    chunk(call(0, "", "f", "a")),
    chunk(call(1, '{"y":', "g", "b")),
    chunk(call(0, '{"x":1}')),
    chunk(call(1, "2}")),
    finish="tool_calls",
)


def reader(kind: Kind, **fields: Any) -> Any:
    body = {"model": "m", "input": "hi", "messages": [{"role": "user", "content": "hi"}], **fields}
    return reader_for(Said(kind, json.dumps(body).encode()), "our-id", MODEL, is_native=False)


@pytest.mark.parametrize("kind", ["messages", "responses"])
@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
def test_where_the_stream_is_cut_makes_no_difference(kind: Kind, ends: bytes) -> None:
    data = MIXED.replace(b"\n", ends)
    times = re.compile(rb'"(created_at|completed_at)":\d+')
    expected = times.sub(b"", translated(kind, data))
    for at in range(len(data) + 1):
        assert times.sub(b"", translated(kind, data[:at], data[at:])) == expected


def test_interleaved_calls_are_told_one_after_the_other() -> None:
    out = translated("messages", MIXED, thinking={"type": "adaptive"})
    events = [json.loads(line[6:]) for line in out.splitlines() if line.startswith(b"data: ")]
    blocks = [event["content_block"]["type"] for event in events if event["type"] == "content_block_start"]
    assert blocks == ["thinking", "text", "tool_use", "tool_use"]
    pieces: dict[int, str] = {}
    is_open = -1
    for event in events:
        if event["type"] == "content_block_start":
            assert is_open == -1
            is_open = event["index"]
        elif event["type"] == "content_block_stop":
            is_open = -1
        elif event["type"] == "content_block_delta":
            assert event["index"] == is_open
            pieces[is_open] = pieces.get(is_open, "") + event["delta"].get("partial_json", "")
    assert (pieces[2], pieces[3]) == ('{"x":1}', '{"y":2}')


@pytest.mark.parametrize("kind", ["messages", "responses"])
def test_what_comes_after_the_end_is_nothing(kind: Kind) -> None:
    told = reader(kind)
    told.feed(chunk({"content": "A"}) + DONE)
    end = told.done
    assert told.feed(DONE + chunk({"content": "B"}) + DONE) == b""
    assert (told.done, told.end(), told.text, told.completion_tokens) == (end, end, "A", 1)


@pytest.mark.parametrize("kind", ["messages", "responses"])
@pytest.mark.parametrize("broken", [b"data: {x\n\n", b'data: {"choices":3}\n\n', b'data: {"error":{"code":7}}\n\n'])
def test_broken_streams_end_with_an_error(kind: Kind, broken: bytes) -> None:
    told = reader(kind)
    out = told.feed(chunk({"content": "A"}) + broken + chunk({"content": "B"}))
    assert b'"A"' in out
    assert b'"B"' not in out
    assert told.fault == ("7" if b"error" in broken else "upstream_malformed")
    assert (b"event: error" if kind == "messages" else b"event: response.failed") in told.done


@pytest.mark.parametrize("kind", ["messages", "responses"])
def test_closed_streams(kind: Kind) -> None:
    told = reader(kind)
    told.feed(chunk({"content": "A"}))
    with pytest.raises(UpstreamFailed) as caught:
        told.end()
    assert caught.value.code == "upstream_cut"
    told.feed(chunk(finish_reason="stop"))
    assert told.end().endswith(b"\n\n")


@pytest.mark.parametrize("kind", ["messages", "responses"])
def test_an_error_at_200_is_an_error(kind: Kind) -> None:
    for body, code in ((b'{"error":{"code":"boom"}}', "boom"), (b"<html>", "upstream_malformed")):
        with pytest.raises(UpstreamFailed) as caught:
            reader(kind).rewrite(body)
        assert caught.value.code == code


def test_arguments_that_are_no_json_are_told_as_such() -> None:
    calls = [{"id": "a", "function": {"name": "f", "arguments": '{"x":'}}]
    out = json.loads(reader("messages").rewrite(whole({"tool_calls": calls}, finish="length")))
    assert out["content"][0]["input"] == {"INVALID_JSON": '{"x":'}
    assert out["stop_reason"] == "max_tokens"


def events(*told: dict[str, Any]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in told)


def test_an_engines_own_messages_pass_and_are_counted() -> None:
    usage = {"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 1}
    start = {"type": "message_start", "message": {"id": "x", "model": "m", "content": [], "usage": usage, "kept": 1.10}}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
    last = {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 9}}
    told = MessagesPassing("our-id", MODEL)
    out = told.feed(events(start, delta, last, {"type": "message_stop"}))
    assert out.endswith(events(delta, last))
    assert b'"our-id"' in out
    assert b'"support"' in out
    assert (told.text, told.prompt_tokens, told.completion_tokens, told.finish_reason) == ("Hi", 7, 9, "length")
    assert told.done == events({"type": "message_stop"})


def test_an_engines_own_responses_pass_and_are_counted() -> None:
    ours = "0" * 36
    response = {"id": "theirs", "model": "m", "status": "in_progress", "output": []}
    usage = {"input_tokens": 5, "output_tokens": 9}
    delta = {"type": "response.output_text.delta", "delta": "Hi"}
    last = {"type": "response.completed", "response": {**response, "status": "completed", "usage": usage}}
    told = ResponsesPassing(ours, MODEL, stores=True)
    out = told.feed(events({"type": "response.created", "response": response}, delta, last))
    assert out.endswith(events(delta))
    assert (told.text, told.prompt_tokens, told.completion_tokens, told.finish_reason) == ("Hi", 5, 9, "stop")
    id = json.loads(told.done.split(b"data: ")[1])["response"]["id"]
    assert id.startswith(ours)
    assert their_id(id) == "theirs"
    assert their_id("resp_other") == "resp_other"


def test_embeddings_are_counted() -> None:
    told = Embeddings("our-id", MODEL)
    out = told.rewrite(b'{"object":"list","model":"m","data":[{"embedding":[1.10]}],"usage":{"prompt_tokens":6}}')
    assert out == b'{"object":"list","model":"support","data":[{"embedding":[1.10]}],"usage":{"prompt_tokens":6}}'
    assert (told.prompt_tokens, told.completion_tokens) == (6, 0)
    with pytest.raises(UpstreamFailed):
        Embeddings("our-id", msgspec.Raw(b'"m"')).rewrite(b'{"error":{"code":"boom"}}')
