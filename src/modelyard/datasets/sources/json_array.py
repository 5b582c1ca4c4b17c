"""The elements of one JSON array as blocks, without ever holding the array."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from modelyard.datasets.kernels import kernel
from modelyard.datasets.sources.lines import BLOCK_ROWS, KEPT_BYTES, MAX_LINE_BYTES
from modelyard.datasets.sources.opening import Truncated
from modelyard.datasets.texts import Bytes, Ints

_WHITE = b" \t\r\n"


@dataclass(frozen=True, slots=True, eq=False)
class Elements:
    """Elements of an array: where each begins and ends in the bytes, and on which line. Shapes: (elements,)."""

    data: bytes
    begins: Ints
    ends: Ints
    lines: Ints


@dataclass(frozen=True, slots=True)
class ElementBlock:
    """Whole elements; or one that is too long, of which `overlong` has the line and the beginning."""

    elements: Elements
    overlong: tuple[tuple[int, bytes], ...] = ()


class ElementBlocks:
    """The elements of the array that some pieces of bytes hold, in blocks of about a size."""

    def __init__(self, pieces: Iterable[bytes], block_bytes: int) -> None:
        self._pieces = pieces
        self._block_bytes = block_bytes
        self._parts: list[bytes] = []
        self._stops: list[Ints] = []
        self._size = 0
        self._line = 1
        self._has_elements = False
        self._open: list[bytes] = []
        self._open_size = 0
        self._open_feeds = 0
        self._open_line = 0
        # Depth, whether a text is open, whether its next byte is escaped: what the kernel knows from piece to piece.
        self._state = np.zeros(3, np.int64)

    @property
    def num_lines(self) -> int:
        """The line on which the last whole element ends; 0 where there is none."""
        return self._line + sum(part.count(b"\n") for part in self._parts) if self._has_elements else 0

    def __iter__(self) -> Iterator[ElementBlock]:
        """Raises: Truncated where the array does not end, or something stands behind it."""
        pieces = iter(self._pieces)
        is_closed = False
        for piece in self._opened(pieces):
            if is_closed:
                _check_tail(piece)
                continue
            stops, is_closed = _separators(np.frombuffer(piece, np.uint8), self._state)
            yield from self._take(piece, stops)
            if is_closed:
                _check_tail(piece[stops[-1] + 1 :])
        if not is_closed:
            raise Truncated("the array does not end")
        yield from self._block()

    def _opened(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The pieces from behind the bracket that opens the array."""
        for piece in pieces:
            body = piece.lstrip(_WHITE)
            self._line += piece.count(b"\n", 0, len(piece) - len(body))
            if not body:
                continue
            if not body.startswith(b"["):
                raise Truncated(f"it holds no array, it begins with {body[:20].decode('utf-8', 'replace')}")
            yield body[1:]
            yield from pieces

    def _take(self, piece: bytes, stops: Ints) -> Iterator[ElementBlock]:
        if not len(stops):
            self._grow(piece)
            return
        self._has_elements = True
        first, last = int(stops[0]) + 1, int(stops[-1]) + 1
        self._grow(piece[:first])
        if self._open_size > MAX_LINE_BYTES:
            yield from self._overlong()
        else:
            self._add(b"".join(self._open), np.array([self._open_size - 1]))
        self._open, self._open_size, self._open_feeds = [], 0, 0
        self._add(piece[first:last], stops[1:] - first)
        self._grow(piece[last:])
        if self._size >= self._block_bytes or sum(map(len, self._stops)) >= BLOCK_ROWS:
            yield from self._block()

    def _grow(self, piece: bytes) -> None:
        """Add to the element that is not over yet; of one that is too long nothing more is kept."""
        self._open_size += len(piece)
        self._open_feeds += piece.count(b"\n")
        if self._open_size <= MAX_LINE_BYTES:
            self._open.append(piece)
        elif self._open_size - len(piece) <= MAX_LINE_BYTES:
            begun = b"".join(self._open)
            body = begun.lstrip(_WHITE)
            self._open_line = begun.count(b"\n", 0, len(begun) - len(body))
            self._open = [body[:KEPT_BYTES]]

    def _add(self, data: bytes, stops: Ints) -> None:
        if len(stops):
            self._stops.append(stops + self._size)
            self._parts.append(data)
            self._size += len(data)

    def _overlong(self) -> Iterator[ElementBlock]:
        yield from self._block()
        empty = np.zeros(0, np.int64)
        yield ElementBlock(Elements(b"", empty, empty, empty), ((self._line + self._open_line, self._open[0]),))
        self._line += self._open_feeds

    def _block(self) -> Iterator[ElementBlock]:
        if not self._parts:
            return
        data = b"".join(self._parts)
        array = np.frombuffer(data, np.uint8)
        begins, ends = _trimmed(array, np.concatenate(self._stops))
        feeds = np.flatnonzero(array == 10)
        if len(begins):
            yield ElementBlock(Elements(data, begins, ends, self._line + np.searchsorted(feeds, begins)))
        self._line += len(feeds)
        self._parts, self._stops, self._size = [], [], 0


def _check_tail(tail: bytes) -> None:
    if tail.strip(_WHITE):
        raise Truncated(f"more follows behind the array: {tail.strip(_WHITE)[:40].decode('utf-8', 'replace')}")


@kernel
def _separators(data: Bytes, state: Ints) -> tuple[Ints, bool]:
    """Where elements end: their commas, and last the bracket that closes the array, if it is there."""
    out = np.empty(len(data), np.int64)
    count = 0
    depth, is_text, is_escaped = state[0], state[1] != 0, state[2] != 0
    is_closed = False
    for place in range(len(data)):
        byte = data[place]
        if is_text:
            if is_escaped:
                is_escaped = False
            elif byte == 92:
                is_escaped = True
            elif byte == 34:
                is_text = False
        elif byte == 34:
            is_text = True
        elif byte == 123 or byte == 91:
            depth += 1
        elif byte == 125 or byte == 93:
            if depth == 0:
                out[count] = place
                count += 1
                is_closed = True
                break
            depth -= 1
        elif byte == 44 and depth == 0:
            out[count] = place
            count += 1
    state[0], state[1], state[2] = depth, is_text, is_escaped
    return out[:count].copy(), is_closed


@kernel
def _trimmed(data: Bytes, stops: Ints) -> tuple[Ints, Ints]:
    """Begin and end of what stands before each stop, without white space; what is empty is left out."""
    begins, ends = np.empty_like(stops), np.empty_like(stops)
    count = 0
    begin = 0
    for stop in stops:
        end = stop
        while begin < end and (data[begin] == 32 or 9 <= data[begin] <= 13):
            begin += 1
        while end > begin and (data[end - 1] == 32 or 9 <= data[end - 1] <= 13):
            end -= 1
        if end > begin:
            begins[count] = begin
            ends[count] = end
            count += 1
        begin = stop + 1
    return begins[:count].copy(), ends[:count].copy()
