"""Files made and read, as the tests of this folder do it."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.sources.block import SourceFile
from modelyard.datasets.sources.finding import find_sources
from modelyard.datasets.sources.parsing import parse_block
from modelyard.datasets.sources.reader import SourceReader

GOOD = b'{"text": "hello", "label": "greeting"}\n'
CSV = b"text,label\nhello,greeting\n"
ROW = {"text": "hello", "label": "greeting"}
Found = tuple[list[tuple[int, dict[str, Any]]], list[tuple[int, str]]]


def found(path: Path, **told: Any) -> SourceFile:
    (source,) = find_sources(DatasetConfig(path=path.name, **told), path.parent)
    return source


def read(path: Path, **told: Any) -> Found:
    """(line, fields) of the rows and (line, reason) of the rest."""
    return read_source(found(path, **told))


def read_source(source: SourceFile) -> Found:
    blocks = [parse_block(block) for block in SourceReader(source)]
    rows = [row for block in blocks for row in zip(block.lines, block.fields, strict=True)]
    assert all(len(block.raws) == len(block.lines) for block in blocks)
    return rows, [(row.line, row.reason) for block in blocks for row in block.rejected]


def zstd(data: bytes) -> bytes:
    packed: bytes = pa.compress(data, "zstd", asbytes=True)
    return packed


PACKINGS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstd}
