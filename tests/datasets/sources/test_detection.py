"""Detection: by content where that is certain, by ending otherwise, and never silently."""

import gzip
import json
import random
import re
from pathlib import Path

import pytest

from modelyard.core.errors import DataInvalid
from tests.datasets.sources.reading import CSV, GOOD, ROW, found, read, zstd


@pytest.mark.parametrize("name", ["export.csv", "export", "export.txt", "export.json"])
def test_content_beats_ending(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(GOOD)
    assert (found(tmp_path / name).format, found(tmp_path / name).detected_by) == ("jsonl", "content")


def test_configuration_beats_both(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(GOOD)
    source = found(tmp_path / "rows.jsonl", format="text")
    assert (source.format, source.detected_by) == ("text", "configuration")


def test_broken_first_line_leaves_the_ending_to_decide(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    for first in (b'["m-1", "hello", "greeting"]\n', b'{"text": "hel\n', b'{"text": 1,\n'):
        path.write_bytes(first + GOOD + GOOD)
        assert (found(path).format, found(path).detected_by) == ("jsonl", "ending")
        assert len(read(path)[0]) == 2


def test_lines_in_brackets_are_text(tmp_path: Path) -> None:
    (tmp_path / "song.txt").write_text("[Verse 1: all\n[1, 2]\n")
    assert found(tmp_path / "song.txt").format == "text"


@pytest.mark.parametrize(
    ("name", "data", "format", "delimiter", "detected_by"),
    [
        ("rows.csv", CSV, "csv", ",", "ending"),
        ("rows.tsv", CSV.replace(b",", b"\t"), "tsv", "\t", "ending"),
        ("rows.csv", CSV.replace(b",", b"\t"), "tsv", "\t", "content"),
        ("rows.tsv", CSV, "csv", ",", "content"),
        ("rows.csv", CSV.replace(b",", b";"), "csv", ";", "ending"),
        ("rows.csv", b'"text",label\n"hello",greeting\n', "csv", ",", "ending"),
        ("rows.tsv", b'"a, b, c"\tlabel\nhello\tgreeting\n', "tsv", "\t", "ending"),
    ],
)
def test_what_stands_between_the_cells(
    tmp_path: Path, name: str, data: bytes, format: str, delimiter: str, detected_by: str
) -> None:
    (tmp_path / name).write_bytes(data)
    source = found(tmp_path / name)
    assert (source.format, source.delimiter, source.detected_by) == (format, delimiter, detected_by)
    assert list(read(tmp_path / name)[0][0][1].values()) == list(ROW.values())


def test_a_row_longer_than_the_head_is_no_array(tmp_path: Path) -> None:
    row = {"text": "x" * 100_000}
    (tmp_path / "rows").write_text(json.dumps(row) + "\n")
    assert found(tmp_path / "rows").format == "jsonl"
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    assert found(tmp_path / "rows.json").format == "json"


def test_rows_behind_many_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b"\n" * 100_000 + GOOD)
    assert read(tmp_path / "rows.jsonl")[0] == [(100_001, ROW)]


def test_the_head_of_a_packed_file_may_end_anywhere(tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(100_000).hex().encode()
    lines = b"".join(b'{"text": "%s"}\n' % noise[at : at + 500] for at in range(0, len(noise), 500))
    (tmp_path / "rows.jsonl.zst").write_bytes(zstd(lines))
    assert (tmp_path / "rows.jsonl.zst").stat().st_size > 64_000
    assert len(read(tmp_path / "rows.jsonl.zst")[0]) == 400


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("rows.json", b'{"data": [{"text": "a"}]}', r"in its field 'data'(.|\n)*jq -c '.data\[\]' rows.json"),
        ("rows.json", b'{\n "version": 1,\n "rows": [\n {"text": "a"}]}', r"'rows'(.|\n)*jq -c '.rows\[\]'"),
        ("rows.json", b'{\n "text": "a",\n "label": "b"\n}\n', r"one JSON object\n(.|\n)*jq -c '.' rows.json"),
        ("rows.jsonl", b'{\n "text": "a",\n "label": "b"\n}\n' * 9000, "one JSON object"),
        ("rows.jsonl", GOOD.decode().encode("utf-16-le"), "UTF-16 without a byte order mark(.|\n)*iconv -f UTF-16LE"),
        ("rows.jsonl", GOOD.decode().encode("utf-16-be"), "UTF-16 without a byte order mark(.|\n)*iconv -f UTF-16BE"),
        ("rows.jsonl", GOOD.decode().encode("utf-32"), "encoded in UTF-32"),
        ("rows.bin", b"\x01\x02\x03", "none of the known formats"),
        ("rows.parquet", CSV, "rows.parquet is no Parquet file"),
        ("rows.parquet.gz", b"PAR1 and so on", "packed Parquet"),
    ],
)
def test_what_cannot_be_read_names_the_way_out(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    with pytest.raises(DataInvalid) as caught:
        read(tmp_path / name)
    assert re.search(says, str(caught.value)), caught.value


def test_rows_with_lists_of_objects_are_rows(tmp_path: Path) -> None:
    line = b'{"items": [{"a": 1}]}\n'
    for name, data in (("one.jsonl", line), ("two.json", line + line)):
        (tmp_path / name).write_bytes(data)
        assert found(tmp_path / name).format == "jsonl"
