"""Reading: every line becomes a row or says what is wrong with it, and a file that cannot be trusted is refused."""

import gzip
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.digests import digest_file
from modelyard.core.errors import DataInvalid
from modelyard.datasets.csv_records import csv_rows
from modelyard.datasets.jsonl import jsonl_rows
from modelyard.datasets.raw_file import MAX_LINE_BYTES, LineReader, RawFile, find_raw_file
from modelyard.datasets.raw_rows import RawRow, Unreadable
from modelyard.datasets.reading import read_batches

GOOD = b'{"text": "hello", "label": "greeting"}\n'


def numbered(data: bytes) -> list[tuple[int, bytes]]:
    return list(enumerate(data.splitlines(keepends=True), start=1))


def found(path: Path) -> RawFile:
    return find_raw_file(path.name, path.parent)


def read(path: Path) -> tuple[list[tuple[int, dict[str, Any]]], list[tuple[int, str]]]:
    """(line, fields) of the rows and (line, reason) of the rest."""
    raw = found(path)
    batches = list(read_batches(raw, LineReader(raw)))
    rows = [(row.line, row.fields) for batch in batches for row in batch.rows]
    return rows, [(row.line, row.reason) for batch in batches for row in batch.rejected]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "hel', "broken JSON: Unterminated string"),
        (b'{"text": "a"} {"text": "b"}', "broken JSON: Extra data at character 15"),
        (b"ERROR 504 upstream timed out", "broken JSON: Expecting value"),
        (b'{"text": "a", "text": "b"}', "duplicate key: 'text'"),
        (b'{"text": {"a": 1, "a": 2}}', "duplicate key: 'a'"),
        (b'["m-1", "hello", "greeting"]', "not an object: the line holds an array"),
        (b'"hello"', "not an object: the line holds a text"),
        (b"null", "not an object: the line holds null"),
        (b'{"text": NaN}', "broken JSON: NaN"),
        (b'{"text": "a\x00b"}', "NUL byte: at byte 12"),
        (b'{"text": "caf\xe9"}', "invalid UTF-8: at byte 14"),
        (b'{"text": "\\ud800"}', "lone surrogate"),
        (b"[" * 100_000, "broken JSON: nested too deeply"),
        (b'{"n": ' + b"9" * 5000 + b"}", "broken JSON: a number with too many digits"),
        (b'{"text": "' + b"x" * MAX_LINE_BYTES + b'"}', "overlong line"),
    ],
)
def test_bad_json_line_is_kept_with_its_number_and_reason(tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD + line + b"\n\n" + GOOD)
    rows, rejected = read(path)
    assert [number for number, _ in rows] == [1, 4]
    assert len(rejected) == 1
    assert rejected[0][0] == 2
    assert rejected[0][1].startswith(reason)


def test_a_pair_of_surrogates_is_a_character() -> None:
    (row,) = jsonl_rows([(1, b'{"text": "\\ud83d\\ude00"}')])
    assert isinstance(row, RawRow)
    assert row.fields == {"text": "\U0001f600"}


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.csv", "rows.csv.gz"])
def test_same_rows_from_every_format(tmp_path: Path, name: str) -> None:
    data = b"text,label\nhello,greeting\n" if ".csv" in name else GOOD
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    rows, rejected = read(path)
    assert [fields for _, fields in rows] == [{"text": "hello", "label": "greeting"}]
    assert not rejected
    raw = found(path)
    assert raw.format == ("csv" if ".csv" in name else "jsonl")
    assert raw.compression == ("gzip" if name.endswith(".gz") else "")


def test_content_beats_ending(tmp_path: Path) -> None:
    for name in ("export.csv", "export", "export.txt"):
        (tmp_path / name).write_bytes(GOOD)
        assert (found(tmp_path / name).format, found(tmp_path / name).detected_by) == ("jsonl", "content")


def test_broken_first_line_leaves_the_ending_to_decide(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'["m-1", "hello", "greeting"]\n' + GOOD)
    assert found(path).detected_by == "ending"
    assert len(read(path)[0]) == 1


def test_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    for name, data in (("rows.jsonl", GOOD), ("rows.csv", b"text,label\nhello,greeting\n")):
        path = tmp_path / name
        path.write_bytes(b"\xef\xbb\xbf" + data)
        assert [fields for _, fields in read(path)[0]] == [{"text": "hello", "label": "greeting"}]


def test_source_is_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(GOOD * 1000))
    reader = LineReader(found(path))
    assert len(list(reader)) == 1000
    assert reader.source().digest == digest_file(path)
    assert reader.source().num_bytes == path.stat().st_size
    assert reader.source().path == "rows.jsonl.gz"


def test_path_outside_the_root_leaves_no_trace_of_the_machine(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD)
    root = tmp_path / "project"
    root.mkdir()
    assert find_raw_file(str(path), root).name == "rows.jsonl"
    assert find_raw_file("../rows.jsonl", root).name == "rows.jsonl"


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("rows.jsonl", b"", "is empty"),
        ("rows.jsonl", b"\n \n", "is empty"),
        ("rows.csv", b"text,label\n", "holds no rows"),
        ("rows.csv", b"text,label,text\na,b,c\n", "column 'text' twice"),
        ("rows.csv", b'"text,label\na,b\n', "header"),
        ("rows.jsonl.gz", b"\x1f\x8b\x08nonsense", "not a valid gzip|breaks off"),
        ("rows.jsonl", GOOD.decode().encode("utf-16"), "UTF-16"),
        ("rows.json", b'[{"text": "a"}]', "one JSON array"),
        ("rows.json", b'[\n{"text": "a"}\n]', "one JSON array"),
        ("rows.parquet", b"PAR1....", "Parquet"),
        ("rows.bin", b"\x01\x02\x03", "neither JSONL nor CSV"),
    ],
)
def test_unusable_file_is_refused(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataInvalid, match=says):
        read(path)


def test_missing_folder_and_unreadable_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match="is not there"):
        found(tmp_path / "nothing.jsonl")
    with pytest.raises(DataInvalid, match="not a regular file"):
        find_raw_file(".", tmp_path)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file")
    with pytest.raises(DataInvalid, match="Permission denied"):
        found(path)


def test_truncated_gzip_names_the_last_good_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    whole = gzip.compress(b"".join(b'{"text": "%d"}\n' % (n * n * 7919) for n in range(50_000)))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataInvalid, match=r"rows.jsonl.gz breaks off after line \d+"):
        read(path)


def test_file_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD * 10)
    lines = iter(LineReader(found(path)))
    next(lines)
    with path.open("ab") as file:
        file.write(GOOD)
    with pytest.raises(DataInvalid, match="changed while it was read"):
        list(lines)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"a\n", "wrong number of cells: 1, the header has 2"),
        (b"a,b,c\n", "wrong number of cells: 3"),
        (b'"he said "hi" to me",b\n', "stray quote"),
        (b'"never closed,b\n', "stray quote: a quote opens here"),
        (b'a,"b\n', "stray quote: a quote opens here"),
        (b"a\x00,b\n", "NUL byte"),
        (b"caf\xe9,b\n", "invalid UTF-8"),
        (b"x" * 200_000 + b",b\n", "broken CSV: field larger"),
    ],
)
def test_bad_csv_record_costs_one_line(record: bytes, reason: str) -> None:
    data = b"text,label\n" + b"one,1\n" + record + b"two,2\nthree,3\n"
    rows = list(csv_rows(numbered(data), "rows.csv"))
    good = [(row.line, row.fields["text"]) for row in rows if isinstance(row, RawRow)]
    assert good == [(2, "one"), (4, "two"), (5, "three")]
    (bad,) = (row for row in rows if isinstance(row, Unreadable))
    assert bad.line == 3
    assert bad.reason.startswith(reason)


def test_csv_cells_over_several_lines() -> None:
    data = b'text,label\r\n"first\r\n\r\nsecond ""quoted"", third",x\r\n\r\ny,z\r\n'
    rows = list(csv_rows(numbered(data), "rows.csv"))
    assert [(row.line, row.fields["text"]) for row in rows if isinstance(row, RawRow)] == [
        (2, 'first\n\nsecond "quoted", third'),
        (6, "y"),
    ]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.text(alphabet='ab",\n '), min_size=2, max_size=2), min_size=1, max_size=6))
def test_csv_that_was_written_well_is_read_back(records: list[list[str]]) -> None:
    quoted = ["text,label", *(",".join('"' + cell.replace('"', '""') + '"' for cell in cells) for cells in records)]
    rows = list(csv_rows(numbered("\n".join(quoted).encode()), "rows.csv"))
    assert [[*row.fields.values()] for row in rows if isinstance(row, RawRow)] == records


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_rows_or_rejections(data: bytes) -> None:
    lines = numbered(data)
    wanted = [number for number, line in lines if line.strip()]
    assert [row.line for row in jsonl_rows(lines)] == wanted
    covered = [row.line for row in csv_rows([(0, b"text,label\n"), *lines], "rows.csv")]
    assert covered == sorted(set(covered))
