"""CSV records with a header line: cut apart where the file is read, made into rows by a worker."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from modelyard.core.errors import DataInvalid
from modelyard.datasets.sources.csv_scanning import DAMAGED, GOOD, OPEN, RETURN, STRAY, WIDTH, scan_cells, scan_records
from modelyard.datasets.sources.decoding import decode, is_utf8
from modelyard.datasets.sources.lines import OVERLONG, LineBlock
from modelyard.datasets.texts import Ints, Texts

_ALL = 1 << 62
_REASONS = {
    STRAY: "stray quote: text stands behind a closing quote",
    OPEN: "stray quote: a quote opens here and does not close as it should",
    RETURN: "broken CSV: a carriage return stands inside a line",
    WIDTH: "wrong number of cells: {cells}, the header has {width}",
}


@dataclass(frozen=True, slots=True, eq=False)
class CsvRecords:
    """Records in their bytes. `places` has begin, end, line, fault and number of cells of each. Shape: (5, records).

    `damaged` has what a line held, and why no record can be made of it; in the bytes a NUL stands for it.
    """

    data: bytes
    places: Ints
    damaged: dict[int, tuple[str, str]]


class CsvReader:
    """Blocks of lines as blocks of records. `header` is there from the first block on."""

    def __init__(self, name: str, delimiter: str) -> None:
        self.header: tuple[str, ...] = ()
        self._name = name
        self._delimiter = delimiter
        self._left = b""
        self._line = 1
        self._damaged: dict[int, tuple[str, str]] = {}

    def blocks(self, blocks: Iterable[LineBlock]) -> Iterator[CsvRecords]:
        """Raises: DataInvalid where the header cannot be used."""
        for block in blocks:
            data, damaged = _marked(block)
            self._left += data
            self._damaged |= damaged
            yield from self._take(is_end=False)
        yield from self._take(is_end=True)

    def _take(self, *, is_end: bool) -> Iterator[CsvRecords]:
        if not self.header:
            self._read_header(is_end)
        if self.header and self._left:
            records = self._scan(len(self.header), _ALL, is_end)
            if records.places.shape[1]:
                yield records

    def _read_header(self, is_end: bool) -> None:
        records = self._scan(0, 1, is_end)
        if records.places.shape[1]:
            for _, _, reason in rejected(records, 0):
                raise DataInvalid(
                    f"the header of {self._name} cannot be read: {reason}", expected="one line of column names"
                )
            self.header = tuple(_check_header(cells_of(records, self._delimiter), self._name))

    def _scan(self, width: int, most: int, is_end: bool) -> CsvRecords:
        array = np.frombuffer(self._left, np.uint8)
        places, stop, num_lines = scan_records(array, ord(self._delimiter), width, most, is_end)
        places[2] += self._line
        self._line += num_lines
        damaged = {line: what for line, what in self._damaged.items() if line < self._line}
        for line in damaged:
            del self._damaged[line]
        records = CsvRecords(self._left[:stop], places, damaged)
        self._left = self._left[stop:]
        return records


def cells_of(records: CsvRecords, delimiter: str) -> list[str]:
    """The cells of all good records, one behind the other."""
    good = records.places[:, records.places[3] == GOOD]
    data, offsets = scan_cells(np.frombuffer(records.data, np.uint8), good[0], good[1], ord(delimiter), good[4].sum())
    return Texts(data, offsets).to_list()


def rejected(records: CsvRecords, width: int) -> Iterator[tuple[int, str, str]]:
    """Line, text and reason of each record that no row can be made of."""
    for begin, end, line, fault, cells in records.places[:, records.places[3] != GOOD].T.tolist():
        if fault == DAMAGED:
            yield line, *records.damaged[line]
        else:
            raw = records.data[begin:end].decode("utf-8", "replace").rstrip("\r")
            yield line, raw, _REASONS[fault].format(cells=cells, width=width)


def _marked(block: LineBlock) -> tuple[bytes, dict[int, tuple[str, str]]]:
    """The lines with a NUL for each that no record can be made of, and what is wrong with those."""
    if not block.overlong and b"\0" not in block.data and is_utf8(block.data):
        return block.data, {}
    overlong = dict(block.overlong)
    lines = block.data.split(b"\n")
    damaged = {}
    for place, raw in enumerate(lines):
        number = block.first_line + place
        text, fault = decode(overlong.get(number, raw))
        fault = OVERLONG if number in overlong else fault
        if fault:
            damaged[number] = (text, fault)
            lines[place] = b"\0"
    return b"\n".join(lines), damaged


def _check_header(cells: list[str], name: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    seen: set[str] = set()
    for column in names:
        if column in seen:
            raise DataInvalid(
                f"the header of {name} names the column '{column}' twice", fix="give each column a name of its own"
            )
        seen.add(column)
    return names
