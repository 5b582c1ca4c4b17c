"""Rows as they stand in the raw file, before any template reads them."""

from typing import Any

import msgspec

from modelyard.datasets.raw_file import MAX_LINE_BYTES

_KEPT_CHARS = 10_000


class RawRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row that could be read. `line` counts from 1; `raw` is its text."""

    line: int
    raw: str
    fields: dict[str, Any]


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """A line that could not be read, with the reason. Of a very long one the beginning is kept."""

    line: int
    raw: str
    reason: str


def decode(data: bytes) -> tuple[str, str]:
    """The text of a line without its line end, and what is wrong with its bytes (empty when nothing is)."""
    if len(data) > MAX_LINE_BYTES:
        beginning = data[:_KEPT_CHARS].decode("utf-8", "replace")
        return beginning, f"overlong line: more than {MAX_LINE_BYTES:,} bytes"
    data = data.rstrip(b"\r\n")
    if b"\0" in data:
        return data.decode("utf-8", "replace"), f"NUL byte: at byte {data.index(0) + 1} of the line"
    try:
        return data.decode("utf-8"), ""
    except UnicodeDecodeError as error:
        return data.decode("utf-8", "replace"), f"invalid UTF-8: at byte {error.start + 1} of the line"
