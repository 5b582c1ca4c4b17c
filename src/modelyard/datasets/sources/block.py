"""A block: some raw rows of one source on their way to a worker; and what reading made of it."""

from typing import Any, Literal

import msgspec

from modelyard.datasets.outcome import Rejection

Compression = Literal["", "gzip", "zstd"]
FoundFormat = Literal["jsonl", "json", "csv", "tsv", "parquet", "text"]


class SourceFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that can be read. `name` is its path from the root, or its bare name when it lies elsewhere.

    `url` is where it is opened (a path or an address) and never enters a dataset: the digest must be the same on every
    machine. `detected_by` tells what settled the format: the configuration, the content, or the name's ending.
    `delimiter` stands between the cells of a CSV or TSV file.
    """

    name: str
    url: str
    format: FoundFormat
    compression: Compression = ""
    encoding: Literal["utf-8", "utf-16-le", "utf-16-be"] = "utf-8"
    has_bom: bool = False
    delimiter: Literal["", ",", ";", "\t"] = ""
    detected_by: Literal["configuration", "content", "ending"] = "content"
    num_bytes: int = 0


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """Raw rows of one source, enough for a worker. Where blocks end depends on the source alone.

    `payload` is what `parse_block` of the format reads: whole lines in UTF-8 (JSONL, text), as bytes or as a
    `PickleBuffer` of them, which need not be copied on the way to a worker; `Elements` (JSON); `CsvRecords` (CSV, TSV);
    an Arrow batch (Parquet). `overlong` has the number and the beginning of lines that were too long to keep; in the
    payload they are blank.
    """

    source: SourceFile
    first_line: int
    payload: Any
    header: tuple[str, ...] = ()
    overlong: tuple[tuple[int, bytes], ...] = ()


class Records(msgspec.Struct, kw_only=True):
    """The rows of a block as read. Shapes: fields, lines, raws (rows,). `raws` are as they stood in the source."""

    source: str
    fields: list[dict[str, Any]]
    lines: list[int]
    raws: list[bytes]
    rejected: list[Rejection]
