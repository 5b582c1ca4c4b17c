"""A raw file as numbered lines of bytes, with its format found out and its digest taken while it is read.

Knows nothing about JSON or CSV beyond how their first line looks.
"""

import gzip
import hashlib
import io
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from modelyard.core.errors import DataInvalid
from modelyard.ports.dataset import Source

MAX_LINE_BYTES = 1_000_000
_HEAD_BYTES = 64_000
_BOM = b"\xef\xbb\xbf"
_FORMATS_BY_ENDING = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv"}
_OTHER_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_EXPECTED = "a JSONL or CSV file in UTF-8, plain or compressed with gzip"

Format = Literal["jsonl", "csv"]


class RawFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that can be read. `name` is its path from the root, or its bare name when it lies elsewhere.

    An absolute path never enters a dataset: the digest must be the same on every machine.
    """

    path: Path
    name: str
    format: Format
    compression: Literal["", "gzip"]
    detected_by: Literal["ending", "content"]


class _Tap(io.RawIOBase):
    """The bytes of a file, hashed and counted on their way."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self._hash = hashlib.sha256()
        self.num_bytes = 0
        self.stat = os.fstat(self._file.fileno())

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self._file.readinto(buffer)
        self._hash.update(buffer[:count])
        self.num_bytes += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()

    @property
    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()


class LineReader:
    """The lines of a raw file. After the last one, `source()` says what exactly was read."""

    def __init__(self, raw: RawFile) -> None:
        self._raw = raw
        self.num_bytes_read = 0
        self.num_bytes = raw.path.stat().st_size
        self.has_bom = False
        self._source: Source | None = None

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Numbered lines with their line end; of a line over `MAX_LINE_BYTES` its first `MAX_LINE_BYTES` + 1 bytes.

        Raises: DataInvalid where the file cannot be read to its end, or changes meanwhile.
        """
        number = 0
        try:
            with _Tap(self._raw.path) as tap, _decompressed(tap, self._raw.compression) as stream:
                while line := stream.readline(MAX_LINE_BYTES + 1):
                    number += 1
                    if len(line) > MAX_LINE_BYTES:
                        _skip_line(stream, line)
                    if number == 1 and line.startswith(_BOM):
                        self.has_bom = True
                        line = line.removeprefix(_BOM)
                    self.num_bytes_read = tap.num_bytes
                    yield number, line
                self._close(tap)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataInvalid(
                f"{self._raw.name} breaks off after line {number}: {error}",
                expected="a whole gzip file",
                fix="fetch or compress the file again; nothing was prepared from the part that could be read",
            ) from error
        except OSError as error:
            raise _unreadable(self._raw.name, error) from error

    def source(self) -> Source:
        """The file as it was read, by the digest of its bytes on disk."""
        if self._source is None:
            raise AssertionError("the lines were not read to their end")
        return self._source

    def _close(self, tap: _Tap) -> None:
        while tap.read(MAX_LINE_BYTES):
            pass
        now = self._raw.path.stat()
        before = (tap.stat.st_size, tap.stat.st_mtime_ns, tap.num_bytes)
        if (now.st_size, now.st_mtime_ns, now.st_size) != before:
            raise DataInvalid(
                f"{self._raw.name} changed while it was read", fix="wait until nothing writes to it, then prepare again"
            )
        self._source = Source(path=self._raw.name, digest=tap.digest, num_bytes=tap.num_bytes)


def find_raw_file(path: str, root: Path) -> RawFile:
    """Look at a file and say how it can be read. Raises: DataInvalid where it cannot."""
    full = root / path
    name = _name(full, root)
    try:
        head = _head(full)
    except FileNotFoundError as error:
        raise DataInvalid(f"{name} is not there", expected=_EXPECTED, fix="correct `path` in the dataset") from error
    except OSError as error:
        raise _unreadable(name, error) from error
    compression: Literal["", "gzip"] = "gzip" if head.startswith(b"\x1f\x8b") else ""
    if compression:
        head = _unzipped(head, name)
    if not head.strip():
        raise DataInvalid(f"{name} is empty", expected="at least one row", fix="point `path` to a file with rows")
    by_ending = _FORMATS_BY_ENDING.get(Path(name.removesuffix(".gz")).suffix.lower())
    _refuse_others(head, name, by_ending)
    by_content = _format_by_content(head)
    if by_content is None and by_ending is None:
        raise DataInvalid(f"{name} looks like neither JSONL nor CSV", expected=_EXPECTED, fix="convert the file")
    format: Format = "csv" if (by_content or by_ending) == "csv" else "jsonl"
    return RawFile(
        path=full,
        name=name,
        format=format,
        compression=compression,
        detected_by="ending" if format == by_ending else "content",
    )


def _name(full: Path, root: Path) -> str:
    with suppress(ValueError):
        return full.resolve().relative_to(root.resolve()).as_posix()
    return full.name


def _head(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise OSError("it is not a regular file")
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _unzipped(head: bytes, name: str) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(head, _HEAD_BYTES)
    except zlib.error as error:
        raise DataInvalid(f"{name} is not a valid gzip file: {error}", expected=_EXPECTED) from error


def _refuse_others(head: bytes, name: str, by_ending: str | None) -> None:
    encoding = _OTHER_ENCODINGS.get(head[:2])
    if encoding:
        raise DataInvalid(
            f"{name} is encoded in {encoding}",
            expected="UTF-8",
            fix=f"iconv -f {encoding} -t UTF-8 {name} > {name}.utf8 and prepare that file",
        )
    if head.startswith(b"PAR1"):
        raise DataInvalid(f"{name} is a Parquet file", expected=_EXPECTED, fix="export it as JSONL")
    if by_ending != "csv" and _is_json_array(head):
        raise DataInvalid(
            f"{name} holds one JSON array", expected="one JSON object a line", fix=f"jq -c '.[]' {name} > rows.jsonl"
        )


def _is_json_array(head: bytes) -> bool:
    """Whether the whole file is one array, and not lines of which the first happens to hold one."""
    first = _first_line(head)
    if not first.startswith(b"["):
        return False
    with suppress(ValueError, RecursionError):
        json.loads(first)
        return not head.partition(first)[2].strip()
    return True


def _format_by_content(head: bytes) -> Format | None:
    """What the first line says for certain: an object is JSONL. Anything else is left to the ending."""
    with suppress(ValueError, RecursionError):
        if isinstance(json.loads(_first_line(head)), dict):
            return "jsonl"
    return None


def _first_line(head: bytes) -> bytes:
    return head.removeprefix(_BOM).lstrip().split(b"\n", 1)[0]


def _decompressed(tap: _Tap, compression: str) -> "io.BufferedReader[_Tap] | gzip.GzipFile":
    buffered = io.BufferedReader(tap, MAX_LINE_BYTES)
    return gzip.GzipFile(fileobj=buffered) if compression else buffered


def _skip_line(stream: "io.BufferedReader[_Tap] | gzip.GzipFile", line: bytes) -> None:
    while line and not line.endswith(b"\n"):
        line = stream.readline(MAX_LINE_BYTES)


def _unreadable(name: str, error: OSError) -> DataInvalid:
    seen = f"{name} cannot be read: {error.strerror or error}"
    return DataInvalid(seen, expected=_EXPECTED, fix="check the path and its permissions")
