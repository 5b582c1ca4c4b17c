"""CSV records as rows: RFC 4180 with a header line, and a stray quote costs one line, never the rest of the file."""

import csv
from collections import deque
from collections.abc import Iterable, Iterator

from modelyard.core.errors import DataInvalid
from modelyard.datasets.raw_file import MAX_LINE_BYTES
from modelyard.datasets.raw_rows import RawRow, Unreadable, decode

_MAX_RECORD_LINES = 200
_OPEN_QUOTE = "unexpected end of data"

_Line = tuple[int, str, str]


def csv_rows(lines: Iterable[tuple[int, bytes]], name: str) -> Iterator[RawRow | Unreadable]:
    """Each record as a row or as what is wrong with it. Blank lines are no rows.

    A quoted cell may go over several lines. Where such a record comes out wrong, its first line alone is rejected and
    reading goes on with the next line, as the quote was most likely a stray one.
    Raises: DataInvalid where the header cannot be used.
    """
    queue = _Lines((number, *decode(data)) for number, data in lines)
    header: list[str] | None = None
    while first := queue.take():
        if not first[1].strip():
            continue
        taken, cells, fault = _record(first, queue)
        if header is None:
            header = _check_header(cells, fault, name)
            continue
        if not fault and len(cells) != len(header):
            fault = f"wrong number of cells: {len(cells)}, the header has {len(header)}"
        if fault and len(taken) > 1:
            queue.put_back(taken[1:])
            fault, taken = "stray quote: a quote opens here and does not close as it should", taken[:1]
        raw = "\n".join(text for _, text, _ in taken)
        if fault:
            yield Unreadable(line=first[0], raw=raw, reason=fault)
        else:
            yield RawRow(line=first[0], raw=raw, fields=dict(zip(header, cells, strict=True)))


class _Lines:
    """Lines that can be put back."""

    def __init__(self, lines: Iterator[_Line]) -> None:
        self._lines = lines
        self._returned: deque[_Line] = deque()

    def take(self) -> _Line | None:
        return self._returned.popleft() if self._returned else next(self._lines, None)

    def put_back(self, lines: list[_Line]) -> None:
        self._returned.extendleft(reversed(lines))


def _record(first: _Line, queue: _Lines) -> tuple[list[_Line], list[str], str]:
    """The lines of a record, its cells, and what is wrong with it."""
    taken = [first]
    size = len(first[1])
    cells, fault = ([], first[2]) if first[2] else _cells(first[1])
    while fault == _OPEN_QUOTE and len(taken) < _MAX_RECORD_LINES and size < MAX_LINE_BYTES:
        line = queue.take()
        if line is None:
            break
        taken.append(line)
        size += len(line[1])
        cells, fault = ([], line[2]) if line[2] else _cells("\n".join(text for _, text, _ in taken))
    if fault == _OPEN_QUOTE:
        fault = "stray quote: a quote opens here and never closes"
    return taken, cells, fault


def _cells(text: str) -> tuple[list[str], str]:
    # The line feed is part of the record: without it the reader takes an open quote at the end for a closed one.
    pieces = [piece + "\n" for piece in text.split("\n")]
    try:
        return next(csv.reader(pieces, strict=True)), ""
    except csv.Error as error:
        return [], _fault(str(error))


def _fault(message: str) -> str:
    """What Python's reader says, under a cause that can be counted."""
    if message == _OPEN_QUOTE:
        return _OPEN_QUOTE
    return f"stray quote: {message}" if "expected after" in message else f"broken CSV: {message}"


def _check_header(cells: list[str], fault: str, name: str) -> list[str]:
    if fault:
        raise DataInvalid(f"the header of {name} cannot be read: {fault}", expected="one line of column names")
    names = [cell.strip() for cell in cells]
    twice = [column for column in names if names.count(column) > 1]
    if twice:
        raise DataInvalid(
            f"the header of {name} names the column '{twice[0]}' twice", fix="give each column a name of its own"
        )
    return names
