"""CSV: what was written well is read back; a stray quote costs one line; blocks of any size hold the same records."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modelyard.core.errors import DataInvalid
from modelyard.datasets.sources.csv_records import CsvReader, CsvRecords, cells_of, rejected
from modelyard.datasets.sources.lines import LineBlock
from tests.datasets.sources.reading import read

Row = tuple[int, list[str]]


def records(data: bytes, delimiter: str = ",", lines_a_block: int = 1 << 30) -> tuple[list[Row], list[tuple[int, str]]]:
    """(line, cells) of the rows and (line, reason) of the rest."""
    reader = CsvReader("rows.csv", delimiter)
    lines = (data if data.endswith(b"\n") else data + b"\n").splitlines(keepends=True)
    lines = b"".join(lines).split(b"\n")[:-1]
    blocks = [
        LineBlock(place + 1, b"".join(line + b"\n" for line in lines[place : place + lines_a_block]))
        for place in range(0, len(lines), lines_a_block)
    ]
    rows: list[Row] = []
    wrong: list[tuple[int, str]] = []
    for found in reader.blocks(blocks):
        rows += zip(found.places[2, found.places[3] == 0].tolist(), _grouped(found, delimiter, reader), strict=True)
        wrong += [(line, reason) for line, _, reason in rejected(found, len(reader.header))]
    return rows, wrong


def _grouped(found: CsvRecords, delimiter: str, reader: CsvReader) -> list[list[str]]:
    cells = cells_of(found, delimiter)
    width = len(reader.header)
    return [cells[place : place + width] for place in range(0, len(cells), width)]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"a\n", "wrong number of cells: 1, the header has 2"),
        (b"a,b,c\n", "wrong number of cells: 3"),
        (b'"he said "hi" to me",b\n', "stray quote: text stands behind a closing quote"),
        (b'"never closed,b\n', "stray quote: a quote opens here"),
        (b'a,"b\n', "stray quote: a quote opens here"),
        (b"a\x00,b\n", "NUL byte: at byte 2"),
        (b"caf\xe9,b\n", "invalid UTF-8: at byte 4"),
        (b'"\xff,b\n', "invalid UTF-8"),
        (b"a\rb,c\n", "broken CSV: a carriage return"),
        (b"x" * 17_000_000 + b",b\n", "overlong line"),
    ],
)
def test_bad_record_costs_one_line(tmp_path: Path, record: bytes, reason: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"text,label\n" + b"one,1\n" + record + b"two,2\nthree,3\n")
    rows, ((line, said),) = read(path)
    assert [(line, fields["text"]) for line, fields in rows] == [(2, "one"), (4, "two"), (5, "three")]
    assert line == 3
    assert said.startswith(reason)


def test_stray_quote_far_from_the_next_one(tmp_path: Path) -> None:
    data = b't,l\n"open,1\n' + b"a,b\n" * 500 + b'"x\ny",2\n'
    rows, wrong = records(data)
    assert [line for line, _ in wrong] == [2]
    assert rows[-1] == (503, ["x\ny", "2"])
    assert len(rows) == 501


def test_damaged_line_inside_a_quoted_cell() -> None:
    rows, wrong = records(b't,l\n"a\nb\xff\nc",1\nd,2\n')
    assert rows == [(4, ['c"', "1"]), (5, ["d", "2"])]
    assert [(line, reason.split(":")[0]) for line, reason in wrong] == [(2, "stray quote"), (3, "invalid UTF-8")]


def test_cells_over_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'text,label\r\n"first\r\n\r\nsecond ""quoted"", third",x\r\n\r\ny,z\r\n')
    rows, _ = read(path)
    assert [(line, row["text"]) for line, row in rows] == [(2, 'first\n\nsecond "quoted", third'), (6, "y")]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"text,label,text\na,b,c\n", "column 'text' twice"),
        (b'"text,label\na,b\n', "header of rows.csv cannot be read: stray quote"),
        (b"te\xffxt,label\na,b\n", "header of rows.csv cannot be read: invalid UTF-8"),
        (b"text,label\n", "holds no rows"),
        (b"text,label\n\n\r\n", "holds no rows"),
    ],
)
def test_unusable_header_is_refused(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "rows.csv").write_bytes(data)
    with pytest.raises(DataInvalid, match=says):
        read(tmp_path / "rows.csv")


CELLS = st.text(alphabet='ab",;\n\t \r\u00e9\U0001f600', max_size=8)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1, 3).flatmap(lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1)),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n"]),
    st.integers(1, 5),
)
def test_what_was_written_well_is_read_back(rows: list[list[str]], delimiter: str, end: str, block: int) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerow([f"c{place}" for place in range(len(rows[0]))])
    writer.writerows(rows)
    # Line ends inside cells are read as line feeds, as on every line.
    plain = [[_plain(cell) for cell in row] for row in rows]
    found, wrong = records(out.getvalue().encode(), delimiter, block)
    assert ([cells for _, cells in found], wrong) == (plain, [])


def _plain(cell: str) -> str:
    while "\r\n" in cell:
        cell = cell.replace("\r\n", "\n")
    return cell


NASTY = st.lists(st.sampled_from([b'"', b'""', b",", b"\n", b"\r\n", b"\r", b"a", b" ", b"\0", b"\xff", b'",', b',"']))


@settings(max_examples=500, deadline=None)
@given(NASTY.map(b"".join), st.integers(1, 4))
@example(b'"a"\r,b\n', 1)
@example(b'""\r\r\n,\n', 1)
def test_any_bytes_are_rows_or_rejections_as_python_reads_them(data: bytes, block: int) -> None:
    data = b"x,y\n" + data
    rows, wrong = records(data, lines_a_block=block)
    assert (rows, wrong) == records(data)
    lines = data.split(b"\n")
    covered = sorted([line for line, _ in rows] + [line for line, _ in wrong])
    assert covered == sorted(set(covered))
    for line, cells in rows:
        rest = [one.rstrip(b"\r").decode("utf-8", "replace") + "\n" for one in lines[line - 1 :]]
        assert next(csv.reader(rest, strict=True)) == cells
    for line, reason in wrong:
        text = lines[line - 1].rstrip(b"\r")
        if reason.startswith("wrong number"):
            assert len(next(csv.reader([text.decode() + "\n"], strict=True))) != 2
        elif not reason.startswith(("NUL", "invalid")):
            with pytest.raises(csv.Error):
                next(csv.reader([text.decode("utf-8", "replace") + "\n"], strict=True))
