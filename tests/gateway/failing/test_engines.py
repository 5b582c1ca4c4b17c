"""Engines that misbehave: each has a defined outcome, after which a plain request works and nothing is left."""

import asyncio
import gzip
import json
import zlib

import pytest

from tests.gateway.failing.engines import (
    DONE,
    EVENTS,
    LAST,
    STREAM,
    STREAM_HEAD,
    USAGE,
    WHOLE,
    Asked,
    RawEngine,
    Script,
    chunked,
    compact,
    good,
    piece,
    says,
    whole,
)
from tests.gateway.failing.live import Live, code_of, events_of, service
from tests.gateway.harness import eventually

NAN = compact(WHOLE).replace(b'"created":1', b'"created":NaN')
DEEP = compact(WHOLE)[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
HUGE_COUNT = compact({**WHOLE, "usage": {"prompt_tokens": 10**30, "completion_tokens": 10**40}})
ERROR = {"error": {"message": "at http://127.0.0.1:1 sk-secret", "code": "boom"}}
ZIPPED = b"content-encoding: gzip\r\n"
DEFLATED = b"content-encoding: deflate\r\n"
SPLIT = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"evil":1}'

WHOLE_FAULTS: dict[str, tuple[bytes, str]] = {
    "no answer": (b"", "upstream_unavailable"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "upstream_malformed"),
    "endless head": (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000, "upstream_malformed"),
    "half a head": (b"HTTP/1.1 200 OK\r\ncontent-le", "upstream_unavailable"),
    "endless interim heads": (b"HTTP/1.1 100 Continue\r\n\r\n" * 4000, "upstream_malformed"),
    "upgrade": (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "upstream_malformed"),
    "half a body": (whole()[:-9], "upstream_cut"),
    "truncated JSON": (whole(compact(WHOLE)[:-9]), "upstream_malformed"),
    "empty body": (whole(b""), "upstream_malformed"),
    "no JSON": (whole(b"<html>"), "upstream_malformed"),
    "no object": (whole(b"[1]"), "upstream_malformed"),
    "NaN": (whole(NAN), "upstream_malformed"),
    "no UTF-8": (whole(compact(WHOLE).replace(b"champ", b"\xff\xfe")), "upstream_malformed"),
    "deep": (whole(DEEP), "upstream_malformed"),
    "error inside": (whole(compact(ERROR)), "upstream_malformed"),
    "error inside, vLLM's": (whole(compact({"object": "error", "message": "no"})), "upstream_malformed"),
    "gzip": (whole(gzip.compress(compact(WHOLE)), headers=ZIPPED), "upstream_malformed"),
    "gzip, not in truth": (whole(headers=ZIPPED), "upstream_malformed"),
    "deflate": (whole(zlib.compress(compact(WHOLE)), headers=DEFLATED), "upstream_malformed"),
    "a stream": (STREAM, "upstream_malformed"),
    "bad chunk size": (STREAM_HEAD + b"zz\r\nhello\r\n", "upstream_malformed"),
    "bad chunk end": (STREAM_HEAD + b"2\r\nhello\r\n" + LAST, "upstream_malformed"),
    "length and chunks": (whole(headers=b"transfer-encoding: chunked\r\n"), "upstream_malformed"),
    "two lengths": (whole(headers=b"content-length: 3\r\n"), "upstream_malformed"),
    "moved": (whole(status=302, headers=b"location: http://127.0.0.1/\r\n"), "upstream_malformed"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", "upstream_malformed"),
}

STREAM_FAULTS: dict[str, tuple[bytes, str]] = {
    "no event": (chunked(), "upstream_cut"),
    "no event, cut": (STREAM_HEAD, "upstream_cut"),
    "an error": (chunked(b"data: %b\n\n" % compact(ERROR)), "boom"),
    "an error among choices": (chunked(b"data: %b\n\n" % compact({**ERROR, "choices": []})), "boom"),
    "gzip": (
        STREAM_HEAD[:-2] + ZIPPED + b"\r\n" + b"%x\r\n%b\r\n" % (20, b"\x1f\x8b\n\n" + b"x" * 16) + LAST,
        "upstream_malformed",
    ),
    "a whole answer": (whole(), "upstream_malformed"),
    "error inside": (whole(compact(ERROR)), "upstream_malformed"),
    "of another type": (STREAM.replace(b"text/event-stream", b"text/plain"), "upstream_malformed"),
    "one huge event": (STREAM_HEAD + b"900000\r\n" + b"x" * 0x900000 + b"\r\n", "upstream_malformed"),
    "bad chunk": (STREAM_HEAD + b"zz\r\n", "upstream_malformed"),
}


def works(live: Live, engine: RawEngine) -> None:
    """A plain request of both forms gets its answer, and nothing else."""
    engine.script = good
    assert live.chat().json()["choices"] == WHOLE["choices"]
    assert events_of(live.chat(stream=True))[-1] == "[DONE]"


@pytest.mark.parametrize("fault", WHOLE_FAULTS)
def test_whole_answers(live: Live, raw: RawEngine, fault: str) -> None:
    """First on a new connection, then on one that was kept."""
    live.publish(service(raw.url))
    data, code = WHOLE_FAULTS[fault]
    for count in (1, 4):
        raw.script = says(data, closes=True)
        answer = live.chat()
        assert (answer.status_code, code_of(answer)) == (502, code)
        assert "secret" not in answer.text
        assert live.settled()
        entry = live.recorded(count)[-1]
        assert (entry.status, entry.error, entry.completion_tokens) == (502, code, 0)
        works(live, raw)


@pytest.mark.parametrize("fault", STREAM_FAULTS)
def test_streams_that_do_not_begin(live: Live, raw: RawEngine, fault: str) -> None:
    live.publish(service(raw.url))
    data, code = STREAM_FAULTS[fault]
    raw.script = says(data, closes=True)
    answer = live.chat(stream=True)
    assert (answer.status_code, code_of(answer)) == (502, code)
    assert "secret" not in answer.text
    (entry,) = live.recorded()
    assert (entry.status, entry.error) == (502, code)
    works(live, raw)


# What an engine sends after two good pieces, and how the caller's stream ends, the status and the error recorded.
MIDDLES: dict[str, tuple[bytes, str, int, str]] = {
    "cut": (b"", "upstream_cut", 502, "upstream_cut"),
    "an end without a finish": (LAST, "upstream_cut", 502, "upstream_cut"),
    "bad chunk": (b"zz\r\n", "upstream_malformed", 502, "upstream_malformed"),
    "an endless event": (b"900000\r\n" + b"x" * 0x900000 + b"\r\n", "upstream_malformed", 502, "upstream_malformed"),
    "two ends": (chunked(piece(finish="stop"), DONE, DONE)[len(STREAM_HEAD) :], "[DONE]", 200, ""),
    "more after the end": (chunked(DONE, piece("evil"), b"data: x\n\n")[len(STREAM_HEAD) :], "[DONE]", 200, ""),
    "endless after the end": (b"e\r\n%b\r\n" % DONE + b"5\r\nevil\n\r\n" * 90_000, "[DONE]", 200, ""),
    "no usage": (chunked(piece(finish="stop"), DONE)[len(STREAM_HEAD) :], "[DONE]", 200, ""),
    "comments and strange events": (
        chunked(b": ping\r\n\r\n", b"event: x\nretry: 1\n\n", piece(finish="stop"), USAGE, DONE)[len(STREAM_HEAD) :],
        "[DONE]",
        200,
        "",
    ),
    "a second answer": (chunked(piece(finish="stop"), DONE)[len(STREAM_HEAD) :] + SPLIT, "[DONE]", 200, ""),
    "huge counts": (
        chunked(piece(choices=[], usage={"prompt_tokens": 1, "completion_tokens": 10**30}), DONE)[len(STREAM_HEAD) :],
        "[DONE]",
        200,
        "",
    ),
    "deep": (chunked(b"data: %b\n\n" % DEEP, DONE)[len(STREAM_HEAD) :], "[DONE]", 200, ""),
    "an error": (chunked(b'data: {"error":{"code":"boom"}}\n\n')[len(STREAM_HEAD) :], "boom", 502, "boom"),
}


@pytest.mark.parametrize("fault", MIDDLES)
@pytest.mark.parametrize("pause_s", [0.0, 0.05])
def test_streams_that_go_wrong_after_they_began(live: Live, raw: RawEngine, fault: str, pause_s: float) -> None:
    live.publish(service(raw.url))
    data, end, status, error = MIDDLES[fault]
    begin = chunked(piece("I "), piece("am"), last=b"")

    async def script(asked: Asked) -> None:
        await asked.send(begin)
        await asyncio.sleep(pause_s)
        await asked.send(data)
        asked.writer.close()

    raw.script = script
    answer = live.chat(stream=True)
    events = events_of(answer) or [answer.text]
    last = events[-1] if events[-1] == "[DONE]" else json.loads(events[-1])["error"]["code"]
    assert last == end
    assert "evil" not in "".join(events)
    assert live.settled()
    (entry,) = live.recorded()
    assert (entry.status, entry.error) == (status, error)
    assert entry.completion_tokens in (2, 3) or not pause_s
    works(live, raw)


def test_a_reset_in_each_phase(live: Live, raw: RawEngine) -> None:
    live.publish(service(raw.url))

    def resets(data: bytes) -> Script:
        async def script(asked: Asked) -> None:
            await asked.send(data)
            await asyncio.sleep(0.02)
            asked.reset()

        return script

    outcomes = []
    for data in (b"", b"HTTP/1.1 200 OK\r\n", STREAM_HEAD, chunked(piece("I "), last=b"")):
        raw.script = resets(data)
        answer = live.chat(stream=True)
        told = json.loads(events_of(answer)[-1]) if answer.status_code == 200 else answer.json()
        outcomes.append(told["error"]["code"])
    assert outcomes == ["upstream_unavailable", "upstream_unavailable", "upstream_cut", "upstream_cut"]
    works(live, raw)


@pytest.mark.parametrize("extra", [SPLIT, SPLIT[:20], b"garbage", b"\r\n\r\n" + SPLIT])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("later", [False, True])
def test_bytes_beyond_an_answer_reach_nobody(
    live: Live, raw: RawEngine, extra: bytes, stream: bool, later: bool
) -> None:
    live.publish(service(raw.url))

    async def script(asked: Asked) -> None:
        answer = STREAM if stream else whole()
        if later:
            await asked.send(answer)
            await asyncio.sleep(0.02)
            await asked.send(extra)
        else:
            await asked.send(answer + extra)

    raw.script = script
    for _ in range(4):
        answer = live.chat(stream=stream)
        if later:
            # What comes while the next request is on its way cannot be told from its answer, by anybody.
            eventually(lambda: raw.open == 0)
        assert answer.status_code == 200
        assert "evil" not in answer.text
        if stream:
            assert events_of(answer)[-1] == "[DONE]"
        else:
            assert answer.json()["choices"] == WHOLE["choices"]
    works(live, raw)


@pytest.mark.parametrize("usage", [None, {}, {"total_tokens": 5}, "x"])
def test_an_answer_whose_engine_tells_no_usage_is_not_free(live: Live, raw: RawEngine, usage: object) -> None:
    live.publish(service(raw.url))
    raw.script = says(whole(compact({**WHOLE, "usage": usage})))
    charged = live.tokens_charged()
    assert live.chat().status_code == 200
    (entry,) = live.recorded()
    assert entry.prompt_tokens > 0
    assert entry.completion_tokens > 0
    assert entry.cost_nanousd > 0
    assert live.tokens_charged() - charged == entry.prompt_tokens + entry.completion_tokens


def test_counts_that_nothing_can_hold_are_no_counts(live: Live, raw: RawEngine) -> None:
    live.publish(service(raw.url))
    raw.script = says(whole(HUGE_COUNT))
    assert live.chat().status_code == 200
    (entry,) = live.recorded()
    assert entry.status == 200
    assert 0 < entry.prompt_tokens < 100
    assert 0 < entry.completion_tokens < 10


def test_interim_heads_and_old_engines(live: Live, raw: RawEngine) -> None:
    live.publish(service(raw.url))
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    old_stream = b"HTTP/1.0 200 OK\r\ncontent-type: Text/Event-Stream\r\n\r\n" + b"".join(EVENTS)
    old_whole = b"HTTP/1.0 200 OK\r\n\r\n" + compact(WHOLE)
    for data, closes in ((interim + whole(), False), (whole(version=b"1.0"), True), (old_whole, True)):
        raw.script = says(data, closes=closes)
        assert live.chat().json()["choices"] == WHOLE["choices"]
    raw.script = says(old_stream, closes=True)
    assert events_of(live.chat(stream=True))[-1] == "[DONE]"
    assert {entry.status for entry in live.recorded(4)} == {200}
    works(live, raw)


def test_a_kept_connection_that_the_engine_closed_costs_no_request(live: Live, raw: RawEngine) -> None:
    live.publish(service(raw.url))
    raw.script = says(whole(), closes=True)
    for _ in range(10):
        assert live.chat().status_code == 200
    assert len(raw.asked) == 10


def test_an_answer_that_comes_before_the_request_is_sent(live: Live, raw: RawEngine) -> None:
    """The rest of the request must not stand before the next one on a connection that is given back."""
    live.publish(service(raw.url))
    original = raw._read

    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Asked:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"content-length: 9" not in head:
            return await read_rest(head, reader, writer)
        writer.write(whole(compact({"error": {"message": "too long", "code": "too_long"}}), status=413))
        await writer.drain()
        raise ConnectionError

    async def read_rest(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Asked:
        lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
        return Asked(raw, head, await reader.readexactly(int(lines[b"content-length"])), writer)

    raw._read = early  # type: ignore[method-assign]
    long = live.chat(messages=[{"role": "user", "content": "x" * 9_300_000}])
    assert (long.status_code, long.json()["error"]["code"]) == (413, "too_long")
    assert live.chat().status_code == 200
    raw._read = original  # type: ignore[method-assign]


@pytest.mark.slow
def test_a_million_tiny_events(live: Live, raw: RawEngine) -> None:
    live.publish(service(raw.url))
    tiny = b"data: {}\n\n" * 25_000

    async def script(asked: Asked) -> None:
        await asked.send(chunked(piece("I "), last=b""))
        for _ in range(40):
            await asked.send(b"%x\r\n%b\r\n" % (len(tiny), tiny))
        await asked.send(chunked(piece("am", "stop"), DONE)[len(STREAM_HEAD) :])

    raw.script = script
    answer = live.chat(stream=True)
    assert len(events_of(answer)) == 1_000_003
    (entry,) = live.recorded()
    assert (entry.status, entry.completion_tokens) == (200, 2)
    works(live, raw)
