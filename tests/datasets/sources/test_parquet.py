"""Parquet: rows by their numbers, in batches of bounded size, as plain values; hashed as it lies on disk."""

import datetime
import decimal
import pickle
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelyard.core.digests import digest_file
from modelyard.core.errors import DataInvalid
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.sources import reader as reading
from modelyard.datasets.sources.finding import find_sources
from modelyard.datasets.sources.reader import SourceReader
from tests.datasets.sources.reading import found, read, read_source


def write(path: Path, table: pa.Table, rows: int = 7000) -> Path:
    pq.write_table(table, path, row_group_size=rows)
    return path


def test_nested_columns_over_row_groups(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": f"m {n}"}], "n": n} for n in range(20_000)]
    path = write(tmp_path / "rows.parquet", pa.Table.from_pylist(rows))
    assert read(path) == (list(enumerate(rows, start=1)), [])


def test_the_digest_is_that_of_the_file_and_progress_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.parquet", pa.table({"n": range(20_000)}))
    reader = SourceReader(found(path))
    seen = [reader.num_bytes_read for _ in reader]
    assert seen == sorted(seen)
    assert 0 < seen[-1] < path.stat().st_size
    assert reader.source().digest == digest_file(path)
    assert reader.num_bytes_read == reader.source().num_bytes == path.stat().st_size


def test_batches_are_bounded_by_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BLOCK_BYTES", 100_000)
    texts = [str(n) * 2_000 for n in range(1_000)]
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": texts}), path, use_dictionary=False)
    blocks = list(SourceReader(found(path)))
    assert len(blocks) > 20
    assert max(len(pickle.dumps(block)) for block in blocks) < 200_000
    assert [fields["text"] for _, fields in read(path)[0]] == texts


def test_values_are_those_of_json(tmp_path: Path) -> None:
    table = pa.table(
        {
            "day": pa.array([datetime.date(2024, 5, 6), None]),
            "price": pa.array([decimal.Decimal("1.50"), None]),
            "tags": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
            "label": pa.array(["x", "y"]).dictionary_encode(),
        }
    )
    assert [fields for _, fields in read(write(tmp_path / "rows.parquet", table))[0]] == [
        {"day": "2024-05-06", "price": "1.50", "tags": {"a": 1}, "label": "x"},
        {"day": None, "price": None, "tags": {}, "label": "y"},
    ]


def test_bad_values_cost_their_row(tmp_path: Path) -> None:
    texts = pa.StringArray.from_buffers(3, pa.array([0, 1, 2, 3], pa.int32()).buffers()[1], pa.py_buffer(b"a\xffc"))
    path = write(tmp_path / "texts.parquet", pa.table({"text": texts}))
    assert read(path) == ([(1, {"text": "a"}), (3, {"text": "c"})], [(2, "invalid UTF-8: in a text of the row")])
    maps = pa.array([[("a", 1)], [("a", 1), ("a", 2)]], pa.map_(pa.string(), pa.int64()))
    rows, ((line, reason),) = read(write(tmp_path / "maps.parquet", pa.table({"m": maps})))
    assert (rows, line) == ([(1, {"m": {"a": 1}})], 2)
    assert reason.startswith("duplicate key")


def test_unusable_files_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.parquet", pa.table({"n": range(20_000)}))
    whole = path.read_bytes()
    for data in (b"PAR1....", whole[:-5], whole[: len(whole) // 2], whole[:100] + b"x" * 5000 + whole[5100:]):
        path.write_bytes(data)
        with pytest.raises(DataInvalid, match=r"rows.parquet breaks off after row \d+"):
            read(path)
    write(path, pa.table({"n": pa.array([], pa.int64())}))
    with pytest.raises(DataInvalid, match="holds no rows"):
        read(path)
    write(path, pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]))
    with pytest.raises(DataInvalid, match="two columns 'a'"):
        read(path)


def test_file_elsewhere_is_fetched_once(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.parquet", pa.table({"n": range(9)}))
    fsspec.filesystem("memory").pipe_file("/fetched.parquet", path.read_bytes())
    (source,) = find_sources(DatasetConfig(path="memory://fetched.parquet"), tmp_path)
    assert read_source(source)[0] == [(n + 1, {"n": n}) for n in range(9)]
    fsspec.filesystem("memory").rm("/fetched.parquet")
