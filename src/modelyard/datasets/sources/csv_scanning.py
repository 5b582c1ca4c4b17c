"""A kernel over CSV: where each record lies. RFC 4180, and a stray quote costs one line, never the rest of the file.

Knows nothing about texts: bytes in UTF-8 keep quotes, delimiters and line ends apart.
"""

import numpy as np

from modelyard.datasets.kernels import kernel
from modelyard.datasets.sources.lines import MAX_LINE_BYTES
from modelyard.datasets.texts import Bytes, Ints

# A quote that does not close within so many lines is a stray one.
_MAX_RECORD_LINES = 200
GOOD, DAMAGED, STRAY, OPEN, RETURN, WIDTH, _UNFINISHED = range(7)
_START, _PLAIN, _QUOTED, _CLOSED = range(4)
_FOUND = 5


@kernel
def scan_records(data: Bytes, delimiter: int, width: int, most: int, is_end: bool) -> tuple[Ints, int, int]:
    """Up to `most` records: begin, end, line (from 0), fault, number of cells; and place and line of the next one.

    A `width` of 0 takes any number of cells. Blank lines are no records. A record that the data breaks off in is left
    for the next call, unless `is_end`. Of a record that comes out wrong, the first line alone is taken, and reading
    goes on with the next line, as the quote was most likely a stray one.
    Shapes: data (bytes,), which ends with a line feed; to (5, records).
    """
    out = np.empty((_FOUND, 1024), np.int64)
    count = 0
    begin = 0
    line = 0
    while begin < len(data) and count < most:
        end, fault, cells, feeds, is_blank = _record(data, begin, delimiter)
        if fault == _UNFINISHED:
            if not is_end:
                break
            fault = OPEN
        if fault == GOOD and not is_blank and width and cells != width:
            fault = WIDTH
        if fault != GOOD:
            if feeds:
                # Whatever is wrong further down, the quote that joined the lines is the reason.
                fault = OPEN
            end = begin
            while data[end] != 10:
                end += 1
            feeds = 0
        if fault != GOOD or not is_blank:
            if count == out.shape[1]:
                out = _grown(out)
            out[0, count], out[1, count], out[2, count], out[3, count], out[4, count] = begin, end, line, fault, cells
            count += 1
        line += 1 + feeds
        begin = end + 1
    return out[:, :count].copy(), begin, line


@kernel
def scan_cells(data: Bytes, begins: Ints, ends: Ints, delimiter: int, num_cells: int) -> tuple[Bytes, Ints]:
    """The cells of good records without their quotes: bytes and offsets. Shapes: to (bytes,), (cells + 1,).

    A line feed stands for each line end inside a cell.
    """
    out = np.empty(len(data), np.uint8)
    offsets = np.zeros(num_cells + 1, np.int64)
    size = 0
    cell = 0
    for record in range(len(begins)):
        place, end = begins[record], ends[record]
        while end > place and data[end - 1] == 13:
            end -= 1
        is_quoted = False
        is_start = True
        while place < end:
            byte = data[place]
            place += 1
            if not is_quoted and byte == delimiter:
                cell += 1
                offsets[cell] = size
                is_start = True
                continue
            if byte == 34 and is_start:
                is_quoted = True
            elif byte == 34 and is_quoted and not (place < end and data[place] == 34):
                is_quoted = False
            elif not (byte == 13 and is_quoted and _line_end(data, place) == 10):
                place += byte == 34 and is_quoted
                out[size] = byte
                size += 1
            is_start = False
        cell += 1
        offsets[cell] = size
    return out[:size].copy(), offsets


@kernel
def _record(data: Bytes, begin: int, delimiter: int) -> tuple[int, int, int, int, bool]:
    """One record: its end, its fault, how many cells and how many line feeds within them; whether it is a blank line.

    Python's reader (`csv`, strict) is followed in what it takes and what it refuses.
    """
    state, cells, feeds = _START, 1, 0
    is_blank = True
    place = begin
    while place < len(data):
        byte = data[place]
        if byte == 13:
            byte = _line_end(data, place)
            if byte == 10:
                # Carriage returns before a line feed are part of the line's end.
                while data[place] != 10:
                    place += 1
        if byte == 10:
            if state != _QUOTED:
                return place, GOOD, cells, feeds, is_blank
            feeds += 1
            if feeds >= _MAX_RECORD_LINES or place - begin > MAX_LINE_BYTES:
                return place, OPEN, cells, feeds, False
        else:
            is_blank = is_blank and (byte == 32 or 9 <= byte <= 13)
            if byte == 0:
                return place, DAMAGED, cells, feeds, False
            if state == _QUOTED:
                if byte == 34:
                    state = _CLOSED
            elif byte == delimiter:
                state = _START
                cells += 1
            elif byte == 13:
                return place, RETURN, cells, feeds, False
            elif state == _CLOSED:
                if byte != 34:
                    return place, STRAY, cells, feeds, False
                state = _QUOTED
            else:
                state = _QUOTED if state == _START and byte == 34 else _PLAIN
        place += 1
    return place, _UNFINISHED, cells, feeds, False


@kernel
def _line_end(data: Bytes, place: int) -> int:
    """A line feed where only carriage returns stand before one, else a carriage return."""
    while place < len(data) and data[place] == 13:
        place += 1
    return 10 if place < len(data) and data[place] == 10 else 13


@kernel
def _grown(array: Ints) -> Ints:
    out = np.empty((array.shape[0], 2 * array.shape[1]), np.int64)
    out[:, : array.shape[1]] = array
    return out
