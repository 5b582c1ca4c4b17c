"""The event splitter: no byte is changed, and how the bytes arrive changes nothing."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from modelyard.gateway.sse import EventSplitter, data_of, with_data

LINE = st.sampled_from(
    [b"data: one", b"data:two", b"data: ", b": ping", b"event: x", b"id: 7", b"data: a b  c", b"data"]
)
END = st.sampled_from([b"\n", b"\r\n", b"\r"])


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Events with one kind of line end each, as servers send them."""
    parts = []
    for _ in range(draw(st.integers(1, 5))):
        end = draw(END)
        parts.append(end.join(draw(st.lists(LINE, min_size=1, max_size=4))) + end + end)
    return b"".join(parts)


def payloads(events: list[bytes]) -> list[bytes]:
    return [data for event in events if (data := data_of(event)) is not None]


@given(streams(), st.lists(st.integers(0, 400), max_size=8))
def test_any_chunking_gives_the_same_bytes_and_data(stream: bytes, cuts: list[int]) -> None:
    whole = EventSplitter()
    expected = payloads(whole.feed(stream))
    places = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    splitter = EventSplitter()
    events = [event for a, b in pairwise(places) for event in splitter.feed(stream[a:b])]
    assert b"".join(events) + splitter.rest == stream
    assert payloads(events) == expected


def test_byte_by_byte() -> None:
    splitter = EventSplitter()
    events = [event for byte in b"data: 1\r\n\r\ndata: 2\n\n" for event in splitter.feed(bytes([byte]))]
    assert [data_of(event) for event in events] == [b"1", b"2"]


def test_an_unfinished_event_stays_inside() -> None:
    splitter = EventSplitter()
    assert splitter.feed(b"data: 1\n") == []
    assert splitter.rest == b"data: 1\n"


def test_data_of_events_with_more_than_data() -> None:
    assert data_of(b": ping\n\n") is None
    assert data_of(b"event: x\ndata: 1\ndata: 2\n\n") == b"1\n2"


def test_other_lines_stay_when_data_is_replaced() -> None:
    assert with_data(b"data: 1\n\n", b"2") == b"data: 2\n\n"
    assert with_data(b"event: x\r\ndata: 1\r\n\r\n", b"2") == b"event: x\ndata: 2\n\n"
