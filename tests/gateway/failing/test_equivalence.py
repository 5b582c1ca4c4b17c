"""A stream means the same however it is cut into reads and however its JSON is laid out.

The way that passes whole reads on blindly tells the caller, and the record, what the way that takes events apart does.
"""

import itertools
import json
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modelyard.gateway.errors import UpstreamFailed
from modelyard.gateway.exchange.stream import Stream
from modelyard.gateway.sse import EventSplitter, data_of

TEXTS = st.one_of(
    st.text(max_size=6),
    st.sampled_from(
        [
            '"id":"theirs"',
            '"model":"champ"',
            ',"usage":null',
            "data: [DONE]\n\n",
            "\n\n",
            "\r\n\r\n",
            '"usage"',
            "\u2028",
        ]
    ),
)
LAYOUTS: list[dict[str, Any]] = [
    {"separators": (",", ":")},
    {},
    {"separators": (",", ":"), "ensure_ascii": False},
    {"separators": (", ", ": "), "sort_keys": True},
    {"separators": (" , ", " : ")},
]
FINISH = st.sampled_from([None, None, None, "stop", "length", "tool_calls"])
DELTAS = st.one_of(
    st.builds(lambda text: {"content": text}, TEXTS),
    st.builds(lambda text: {"reasoning_content": text}, TEXTS),
    st.just({}),
    st.just({"role": "assistant", "content": None}),
    st.builds(lambda id: {"tool_calls": [{"index": 0, "id": id, "function": {"arguments": "{}"}}]}, TEXTS),
)
CHOICES = st.lists(
    st.builds(
        lambda index, delta, finish: {"index": index, "delta": delta, "finish_reason": finish},
        st.integers(0, 1),
        DELTAS,
        FINISH,
    ),
    max_size=2,
)
USAGES = st.sampled_from(
    [
        None,
        None,
        {"prompt_tokens": 3, "completion_tokens": 7},
        {},
        {"prompt_tokens": -1, "completion_tokens": -1},
        {"prompt_tokens": "x"},
        {"prompt_tokens": 10**30, "completion_tokens": 10**30},
    ]
)
ABSENT = object()


@st.composite
def chunks(draw: st.DrawFn) -> dict[str, Any]:
    """One chunk, its fields in any order."""
    fields: dict[str, Any] = {
        "id": draw(st.sampled_from(["theirs"] * 8 + ["another", "", 5, None, ABSENT])),
        "object": "chat.completion.chunk",
        "model": draw(st.sampled_from(["champ"] * 8 + ["champ-2", ABSENT])),
        "choices": draw(CHOICES) if draw(st.integers(0, 12)) else ABSENT,
    }
    if draw(st.booleans()):
        fields["usage"] = draw(USAGES)
    if not draw(st.integers(0, 15)):
        fields["error"] = draw(st.sampled_from([{"code": "boom"}, {"code": 500}, "no", None]))
    names = draw(st.permutations(list(fields))) if draw(st.booleans()) else list(fields)
    return {name: fields[name] for name in names if fields[name] is not ABSENT}


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """An engine's whole stream: chunks of one layout, with what else may stand between them."""
    layout = draw(st.sampled_from(LAYOUTS))
    strange = [
        b": ping\n\n",
        b"event: x\n\n",
        b"data: {}\n\n",
        b"data: NaN\n\n",
        b"data: [1]\n\n",
        b"id: 4\nretry: 1\n\n",
    ]
    out = []
    for chunk in draw(st.lists(chunks(), min_size=1, max_size=8)):
        if not draw(st.integers(0, 8)):
            out.append(draw(st.sampled_from(strange)))
        data = json.dumps(chunk, **layout).encode()
        out.append(draw(st.sampled_from([b"data: %b\n\n"] * 6 + [b"data:%b\n\n", b"id: 7\ndata: %b\n\n"])) % data)
    if draw(st.integers(0, 5)):
        out.append(b"data: [DONE]\n\n" * draw(st.integers(1, 2)))
    stream = b"".join(out)
    return stream.replace(b"\n", b"\r\n") if not draw(st.integers(0, 5)) else stream


def heard(stream: bytes, cuts: list[int], *, show_usage: bool) -> tuple[list[Any], tuple[Any, ...]]:
    """What a caller's parser makes of it, and what the record holds."""
    reader = Stream("ours", msgspec.Raw(b'"support"'), show_usage=show_usage)
    out = b""
    places = [0, *sorted(cuts), len(stream)]
    for start, end in itertools.pairwise(places):
        if start < end and not reader.done:
            out += reader.feed(stream[start:end])
    try:
        out += reader.end()
    except UpstreamFailed as failure:
        out += reader.fail(failure)
    events = [data_of(event) for event in EventSplitter().feed(out)]
    noted = (
        reader.text,
        reader.finish_reason,
        reader.prompt_tokens,
        reader.completion_tokens,
        reader.fault,
        reader.spoke,
    )
    return [parsed(event) for event in events if event is not None], noted


def parsed(event: bytes) -> Any:
    try:
        return json.loads(event)
    except ValueError:
        return event


def blind() -> bytes:
    """A stream whose later reads go the short way."""
    event = b'data: {"id":"theirs","model":"champ","choices":[{"index":0,"delta":{"content":"a"}}],"usage":null}\n\n'
    return event * 4 + b"data: [DONE]\n\n"


def nested() -> bytes:
    """The id and the name stand a second time within a chunk, where they are not ours to change."""
    call = b'{"id":"theirs","model":"champ","usage":null}'
    return blind().replace(b'{"content":"a"}', b'{"content":"a","tool_calls":[' + call + b"]}")


@settings(max_examples=150, deadline=None)
@given(streams(), st.lists(st.integers(0, 2000), max_size=12), st.booleans())
@example(nested(), [150, 300], True)
@example(blind(), [100, 200, 300], False)
@example(blind(), [100, 200, 300], True)
def test_however_it_is_cut(stream: bytes, cuts: list[int], show_usage: bool) -> None:
    boundaries = [i + 2 for i in range(len(stream)) if stream[i : i + 2] == b"\n\n"]
    expected = heard(stream, [], show_usage=show_usage)
    assert heard(stream, cuts, show_usage=show_usage) == expected
    assert heard(stream, boundaries, show_usage=show_usage) == expected
    assert heard(stream, boundaries[:1], show_usage=show_usage) == expected


@settings(max_examples=80, deadline=None)
@given(streams(), st.lists(st.integers(0, 2000), max_size=6), st.booleans())
def test_every_chunk_has_our_id_and_the_services_name(stream: bytes, cuts: list[int], show_usage: bool) -> None:
    events, _ = heard(stream, cuts, show_usage=show_usage)
    for event in events:
        if isinstance(event, dict) and "choices" in event:
            assert (event["id"], event["model"]) == ("ours", "support")
            if not show_usage:
                assert event["choices"] == [] or event.get("usage", {}) is not None


@settings(max_examples=80, deadline=None)
@given(st.lists(chunks(), min_size=1, max_size=6), st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS))
def test_the_layout_says_nothing(made: list[dict[str, Any]], one: dict[str, Any], two: dict[str, Any]) -> None:
    def written(layout: dict[str, Any]) -> bytes:
        return b"".join(b"data: %b\n\n" % json.dumps(chunk, **layout).encode() for chunk in made) + b"data: [DONE]\n\n"

    streams = [written(layout) for layout in (one, two)]
    ends = [[i + 2 for i in range(len(stream)) if stream[i : i + 2] == b"\n\n"] for stream in streams]
    results = [heard(stream, end, show_usage=False) for stream, end in zip(streams, ends, strict=True)]
    assert results[0] == results[1]


def test_the_short_way_is_taken() -> None:
    """Else the tests above would compare one way with itself."""
    reader = Stream("ours", msgspec.Raw(b'"support"'), show_usage=False)
    event = blind()[: blind().index(b"\n\n") + 2]
    reader.feed(event)
    assert reader._stamp is not None
    reader.feed(event * 3)
    assert reader._kept == [event.replace(b',"usage":null', b"") * 3]
