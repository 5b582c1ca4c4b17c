"""Streams of real engines, recorded: the blind way gives what the slow way gives, however a stream is cut."""

import json
import random
from pathlib import Path
from typing import Any

import httptools
import msgspec
import pytest

from modelyard.gateway.exchange.stream import Stream
from modelyard.ports.sheets import sheet_of

RECORDED = Path(__file__).parents[1] / "recorded"
STREAMS = sorted(
    path for path in RECORDED.glob("*/*-stream*.http") if path.name.startswith(("chat-stream", "completions-stream"))
)


class Body:
    """What an HTTP answer carries, taken out of its chunks."""

    def __init__(self, answer: bytes) -> None:
        self.data = b""
        httptools.HttpResponseParser(self).feed_data(answer)

    def on_body(self, data: bytes) -> None:
        self.data += data


def passed(body: bytes, cuts: list[int], *, show_usage: bool) -> tuple[list[Any], tuple[Any, ...]]:
    """The events that a caller gets, and what is noted."""
    stream = Stream("our-id", msgspec.Raw(b'"support"'), show_usage=show_usage)
    out = b""
    for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        out += stream.feed(body[start:end])
    out += stream.end()
    events = [event[6:] for event in out.split(b"\n\n") if event]
    noted = (stream.text, stream.finish_reason, stream.prompt_tokens, stream.completion_tokens, stream.fault)
    return [event if event == b"[DONE]" else json.loads(event) for event in events], noted


@pytest.mark.parametrize("show_usage", [False, True])
@pytest.mark.parametrize("path", STREAMS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_both_ways_agree(path: Path, show_usage: bool) -> None:
    body = Body(path.read_bytes()).data
    # The first read is taken apart event by event, so where there is no other, all is.
    slow = passed(body, [], show_usage=show_usage)
    chance = random.Random(7)
    whole_events = [at + 2 for at in range(len(body)) if body.startswith(b"\n\n", at)][:-1]
    for cuts in (whole_events, *(sorted(chance.sample(range(1, len(body)), 9)) for _ in range(40))):
        assert passed(body, cuts, show_usage=show_usage) == slow
    events, (text, finish_reason, prompt, completion, fault) = slow
    assert text
    assert finish_reason in ("stop", "length")
    assert completion > 0
    assert (prompt > 0) == (b'"usage":{' in body)
    assert not fault
    assert events[-1] == b"[DONE]"
    assert {event["id"] for event in events[:-1]} == {"our-id"}
    assert {event["model"] for event in events[:-1]} == {"support"}
    if not show_usage:
        assert all("usage" not in event for event in events[:-1])


def test_the_engines_streams_are_there_and_go_the_blind_way() -> None:
    """That the comparison compares two ways, not one with itself."""
    assert {path.parent.name for path in STREAMS} == {"builtin", "llamacpp", "vllm"}
    body = Body((RECORDED / "vllm" / "chat-stream-usage.http").read_bytes()).data
    stream = Stream("our-id", msgspec.Raw(b'"support"'), show_usage=False)
    for event in body.split(b"\n\n")[:3]:
        stream.feed(event + b"\n\n")
    assert stream._stamp is not None


def test_an_engine_that_counts_choices_apart_is_added_up() -> None:
    assert sheet_of("llamacpp").counts_apart
    stream = Stream("our-id", msgspec.Raw(b'"support"'), show_usage=False)
    stream.counts_apart = True
    stream.feed(Body((RECORDED / "llamacpp" / "chat-stream-n2.http").read_bytes()).data)
    stream.end()
    assert (stream.prompt_tokens, stream.completion_tokens) == (14, 3 + 3)
    whole = Stream("our-id", msgspec.Raw(b'"support"'), show_usage=False)
    whole.counts_apart = True
    whole.rewrite(Body((RECORDED / "llamacpp" / "chat-n2.http").read_bytes()).data)
    assert (whole.prompt_tokens, whole.completion_tokens) == (14, 4 + 4)
