"""The first step: a raw file as batches of rows, with every line that cannot be read and why."""

from collections.abc import Callable, Iterator
from itertools import islice

import msgspec

from modelyard.core.errors import DataInvalid
from modelyard.datasets.csv_records import csv_rows
from modelyard.datasets.jsonl import jsonl_rows
from modelyard.datasets.outcome import Rejection
from modelyard.datasets.raw_file import LineReader, RawFile
from modelyard.datasets.raw_rows import RawRow, Unreadable

BATCH_ROWS = 8192


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Some rows of a source in their order, and the lines between them that could not be read."""

    source: str
    rows: list[RawRow]
    rejected: list[Rejection]


def read_batches(
    raw: RawFile, reader: LineReader, *, progress: Callable[[int, int], None] | None = None
) -> Iterator[Batch]:
    """The rows of a file, `BATCH_ROWS` at a time. `progress` gets bytes read and bytes in all.

    Raises: DataInvalid where the file cannot be read to its end or holds no row at all.
    """
    rows = csv_rows(reader, raw.name) if raw.format == "csv" else jsonl_rows(reader)
    is_empty = True
    while read := list(islice(rows, BATCH_ROWS)):
        is_empty = False
        if progress:
            progress(reader.num_bytes_read, reader.num_bytes)
        yield _batch(raw.name, read)
    if is_empty:
        raise DataInvalid(f"{raw.name} holds no rows", expected="at least one", fix="point `path` to a file with rows")


def _batch(source: str, read: list[RawRow | Unreadable]) -> Batch:
    return Batch(
        source=source,
        rows=[row for row in read if isinstance(row, RawRow)],
        rejected=[
            Rejection(source=source, line=row.line, reason=row.reason, raw=row.raw)
            for row in read
            if isinstance(row, Unreadable)
        ],
    )
