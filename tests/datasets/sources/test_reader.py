"""Reading: each byte once, in blocks that depend on the bytes alone; a file that cannot be trusted is refused."""

import gzip
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.core.digests import digest_file
from modelyard.core.errors import DataInvalid
from modelyard.datasets.sources import reader as reading
from modelyard.datasets.sources.parsing import parse_block
from modelyard.datasets.sources.reader import SourceReader
from tests.datasets.sources.reading import CSV, GOOD, PACKINGS, ROW, found, read, zstd


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("rows.jsonl", GOOD),
        ("rows.json", b'[\n {"text": "hello",\n "label": "greeting"}\n]\n'),
        ("rows.json", b'[{"text":"hello","label":"greeting"}]'),
        ("rows.csv", CSV),
        ("rows.tsv", CSV.replace(b",", b"\t")),
        ("utf8.jsonl", b"\xef\xbb\xbf" + GOOD),
        ("utf8.csv", b"\xef\xbb\xbf" + CSV),
        ("utf16.jsonl", GOOD.decode().encode("utf-16")),
        ("utf16.csv", CSV.decode().encode("utf-16")),
    ],
)
def test_same_rows_from_every_format(tmp_path: Path, name: str, data: bytes, packing: str) -> None:
    path = tmp_path / (name + packing)
    path.write_bytes(PACKINGS[packing](data))
    rows, rejected = read(path)
    assert [fields for _, fields in rows] == [ROW]
    assert not rejected
    assert found(path).format == name.split(".")[1]
    assert found(path).compression == {"": "", ".gz": "gzip", ".zst": "zstd"}[packing]
    assert found(path).encoding == ("utf-16-le" if name.startswith("utf16") else "utf-8")


def test_text_is_a_document_a_line(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_bytes(b"one\n\ntwo\nb\xe9d\n")
    rows, rejected = read(tmp_path / "rows.txt")
    assert rows == [(1, {"text": "one"}), (3, {"text": "two"})]
    assert rejected == [(4, "invalid UTF-8: at byte 2 of the line")]


def test_source_is_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(GOOD * 1000))
    reader = SourceReader(found(path))
    assert sum(len(parse_block(block).fields) for block in reader) == 1000
    source = reader.source()
    assert (source.path, source.digest, source.num_bytes) == ("rows.jsonl.gz", digest_file(path), path.stat().st_size)


@pytest.mark.parametrize("block_bytes", [1, 50, 1000, 1 << 23])
@pytest.mark.parametrize("ending", [b"", b"\n"])
def test_blocks_of_any_size_hold_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int, ending: bytes
) -> None:
    monkeypatch.setattr(reading, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr("modelyard.datasets.sources.opening.CHUNK_BYTES", 64)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(b'{"n": %d}' % n + b" " * (n % 90) for n in range(200)) + ending)
    assert read(path)[0] == [(n + 1, {"n": n}) for n in range(200)]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("rows.jsonl", b"", "is empty"),
        ("rows.jsonl", b"\n \n", "is empty"),
        ("rows.jsonl.gz", b"\x1f\x8b\x08nonsense", "not a valid gzip|breaks off"),
        ("rows.jsonl.zst", b"\x28\xb5\x2f\xfdnonsense", "not a valid zstd|breaks off"),
        ("rows.jsonl", b"\n" * 100_000, "holds no rows"),
        ("rows.txt", b" \n" * 100_000, "holds no rows"),
        ("rows.csv", b"\n" * 100_000, "holds no rows"),
        ("rows.jsonl", GOOD.decode().encode("utf-16")[:-1], "breaks off after line 0: half of a character"),
    ],
)
def test_unusable_file_is_refused(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataInvalid, match=says):
        read(path)


def test_truncated_gzip_names_the_last_good_line(tmp_path: Path) -> None:
    rows = b"".join(b'{"text": "%d"}\n' % pow(n, 40, 10**40) for n in range(50_000))
    path = tmp_path / "rows.jsonl.gz"
    whole = gzip.compress(rows)
    for size in (len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:size])
        last = zlib.decompressobj(wbits=31).decompress(whole[:size]).count(b"\n")
        with pytest.raises(DataInvalid, match=f"rows.jsonl.gz breaks off after line {last}: the packed data ends"):
            read(path)
    path.write_bytes(whole[:-100] + b"x" * 100)
    with pytest.raises(DataInvalid, match="breaks off after line"):
        read(path)


def test_truncated_zstd_names_a_line_that_was_good(tmp_path: Path) -> None:
    rows = b"".join(b'{"text": "%d"}\n' % pow(n, 40, 10**40) for n in range(50_000))
    path = tmp_path / "rows.jsonl.zst"
    whole = zstd(rows)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataInvalid, match=r"rows.jsonl.zst breaks off after line (1\d{4}|2[0-4]\d{3}):"):
        read(path)


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_packed_files_behind_one_another_are_one(tmp_path: Path, packing: str) -> None:
    path = tmp_path / f"rows.jsonl{packing}"
    path.write_bytes(PACKINGS[packing](GOOD * 3) + PACKINGS[packing](GOOD * 2))
    assert len(read(path)[0]) == 5
    path.write_bytes(PACKINGS[packing](GOOD * 3) + b"and more")
    with pytest.raises(DataInvalid, match=r"breaks off after line 3|not a valid zstd file"):
        read(path)


def test_gzip_on_a_tape_is_filled_up_with_nuls(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(GOOD) + bytes(2_000_000))
    assert read(tmp_path / "rows.jsonl.gz")[0] == [(1, ROW)]


def test_half_a_pair_in_utf16_costs_its_line(tmp_path: Path) -> None:
    data = GOOD.decode().encode("utf-16") + b'{\0"\0a\0"\0:\0"\0\x00\xd8"\0}\0\n\0' + GOOD.decode().encode("utf-16-le")
    (tmp_path / "rows.jsonl").write_bytes(data)
    rows, ((line, reason),) = read(tmp_path / "rows.jsonl")
    assert (rows, line) == ([(1, ROW), (3, ROW)], 2)
    assert reason.startswith("invalid UTF-8")


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(GOOD)


def _touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def _replace(path: Path) -> None:
    told = path.stat()
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(told.st_atime_ns, told.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("change", [_append, _touch, _replace])
def test_file_that_changes_meanwhile_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(reading, "BLOCK_BYTES", 10)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD * 10)
    blocks = iter(SourceReader(found(path)))
    next(blocks)
    change(path)
    with pytest.raises(DataInvalid, match="changed while it was read"):
        list(blocks)


MEMORY = """
import resource, sys
from pathlib import Path
from modelyard.core.errors import DataInvalid
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.sources.finding import find_sources
from modelyard.datasets.sources.parsing import parse_block
from modelyard.datasets.sources.reader import SourceReader

(source,) = find_sources(DatasetConfig(path=sys.argv[1]), Path())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
first = 0
try:
    for block in SourceReader(source):
        rejected = parse_block(block).rejected
        first = first or (rejected[0].line if rejected else 0)
except DataInvalid:
    pass
print(first, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "begin", "filling", "end", "line"),
    [
        ("rows.jsonl", GOOD + b'{"text": "', b"x", b'"}\n' + GOOD, 2),
        ("rows.jsonl.gz", GOOD + b'{"text": "', b"x", b'"}\n' + GOOD, 2),
        ("rows.json", b"[" + GOOD + b',{"text": "', b"x", b'"},' + GOOD + b"]", 2),
        ("rows.json", b"[" + GOOD + b",{}" + GOOD, b"{", GOOD, 0),
        ("rows.csv", CSV + b'"', b"x", b'",a\n' + CSV, 3),
        ("rows.txt", b"a\n", b"x", b"\na\n", 2),
    ],
)
def test_a_line_of_200_megabytes_is_not_held(
    tmp_path: Path, name: str, begin: bytes, filling: bytes, end: bytes, line: int
) -> None:
    path = tmp_path / name
    with gzip.open(path, "wb", 1) if name.endswith(".gz") else path.open("wb") as file:
        file.write(begin)
        for _ in range(200):
            file.write(filling * ((1 << 20) // len(filling)))
        file.write(end)
    run = subprocess.run([sys.executable, "-c", MEMORY, path], check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    first_rejected, megabytes = map(int, run.stdout.split())
    assert first_rejected == line
    assert megabytes < 150
