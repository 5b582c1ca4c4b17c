"""A source as a stream of bytes in UTF-8, hashed as it lies on disk while it is read."""

import codecs
import hashlib
import io
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import pyarrow as pa

from modelyard.core.errors import DataInvalid, ModelyardError, Unavailable
from modelyard.datasets.sources.block import SourceFile
from modelyard.ports.dataset import Source

CHUNK_BYTES = 1 << 20
_ZSTD_STEP_BYTES = 1 << 16
_BOM = b"\xef\xbb\xbf"
_STATES = ("ETag", "etag", "mtime", "created", "updated", "LastModified", "last_modified", "generation")
_SECRETS = re.compile(r"(?<=://)[^/@\s]*@|\?[^\s'\")]*")


class Tap:
    """A source on its way: its bytes are hashed and counted while somebody reads them."""

    def __init__(self, source: SourceFile) -> None:
        self._source = source
        self._file = open_raw(source.url)
        self._hash = hashlib.sha256()
        self._before = state_of(source.url, self._file)
        self.num_bytes = 0

    def __enter__(self) -> "Tap":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        """Some bytes; none at the end."""
        with reaching(self._source.url):
            data = self._file.read(size)
        self._hash.update(data)
        self.num_bytes += len(data)
        return data

    def read_up_to(self, place: int) -> None:
        """Hash and count what stands before a place."""
        while self.num_bytes < place and self.read(min(CHUNK_BYTES, place - self.num_bytes)):
            pass

    def finish(self) -> Source:
        """What exactly was read. Raises: DataInvalid where the source changed meanwhile."""
        while self.read(CHUNK_BYTES):
            pass
        size = self._before[0]
        if state_of(self._source.url, None) != self._before or (size is not None and size != self.num_bytes):
            raise DataInvalid(
                f"{self._source.name} changed while it was read",
                fix="wait until nothing writes to it, then prepare again",
            )
        return Source(path=self._source.name, digest="sha256:" + self._hash.hexdigest(), num_bytes=self.num_bytes)


class Truncated(Exception):
    """A source ends too early, or is damaged where no line can be blamed."""


def is_address(url: str) -> bool:
    """Whether a source is an address and not a path of this machine."""
    return "://" in url


def public(text: str) -> str:
    """An address, or a message with one in it, without names, passwords and signatures."""
    return _SECRETS.sub("", text)


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """What packages behind addresses raise, as ours. The system's own errors go through."""
    try:
        yield
    except Exception as error:
        if not is_address(url) or isinstance(error, OSError | ImportError | ModelyardError):
            raise
        parts = urlsplit(url)
        raise Unavailable(
            f"{parts.scheme}://{parts.netloc.rpartition('@')[2]} does not answer:"
            f" {type(error).__name__}: {public(str(error))}",
            fix="check the address, the network and the credentials, then prepare again",
        ) from error


def open_raw(url: str) -> BinaryIO:
    """The bytes of a path or an address."""
    if not is_address(url):
        return open(url, "rb", buffering=0)
    import fsspec

    with reaching(url):
        file: BinaryIO = fsspec.open(url, "rb").open()
        return file


def state_of(url: str, file: BinaryIO | None) -> tuple[Any, ...]:
    """What changes when somebody writes to a source: size, time, which file it is; of an address what it tells."""
    if not is_address(url):
        stat = os.stat(url) if file is None else os.fstat(file.fileno())
        return stat.st_size, stat.st_mtime_ns, stat.st_ino
    import fsspec

    with reaching(url):
        filesystem, path = fsspec.core.url_to_fs(url)
        filesystem.invalidate_cache()
        told = filesystem.info(path)
    return told.get("size"), *(str(told.get(name)) for name in _STATES)


def chunks(tap: Tap, source: SourceFile) -> Iterator[bytes]:
    """The source unpacked and in UTF-8, without a byte order mark, in pieces whose sizes depend on its bytes alone.

    Raises: Truncated where it breaks off.
    """
    if source.compression == "gzip":
        pieces = _even(_gzip(tap))
    elif source.compression == "zstd":
        pieces = _even(_zstd(tap))
    else:
        pieces = _even(iter(lambda: tap.read(CHUNK_BYTES), b""))
    if source.encoding != "utf-8":
        pieces = _from_utf16(pieces, source.encoding)
    first = next(pieces, b"")
    yield first.removeprefix(_BOM)
    yield from pieces


def breaks_off(source: SourceFile, detail: object, line: int) -> DataInvalid:
    """The error for a source that ends too early. `line` is the last good one."""
    unit = "row" if source.format == "parquet" else "line"
    whole = {"gzip": "a whole gzip file", "zstd": "a whole zstd file"}.get(source.compression, f"whole {source.format}")
    return DataInvalid(
        f"{source.name} breaks off after {unit} {line}: {detail}",
        expected=whole,
        fix="fetch or compress the file again; nothing was prepared from the part that could be read",
    )


def _even(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of `CHUNK_BYTES`, however a library or a network cuts them; also before an error."""
    waiting: list[bytes] = []
    size = 0
    try:
        for piece in pieces:
            waiting.append(piece)
            size += len(piece)
            while size >= CHUNK_BYTES:
                data = b"".join(waiting)
                yield data[:CHUNK_BYTES]
                waiting, size = [data[CHUNK_BYTES:]], size - CHUNK_BYTES
    except Truncated:
        yield b"".join(waiting)
        raise
    if size:
        yield b"".join(waiting)


def _gzip(tap: Tap) -> Iterator[bytes]:
    """The members of a gzip file, one behind the other."""
    member = zlib.decompressobj(wbits=31)
    is_begun = False
    try:
        while data := tap.read(CHUNK_BYTES):
            while data:
                if not is_begun:
                    # Tape blocks are filled up with NULs.
                    data = data.lstrip(b"\0")
                    is_begun = bool(data)
                piece = member.decompress(data, CHUNK_BYTES)
                data = member.unconsumed_tail
                if member.eof:
                    data, member, is_begun = member.unused_data, zlib.decompressobj(wbits=31), False
                if piece:
                    yield piece
        while is_begun and (piece := member.decompress(b"", CHUNK_BYTES)):
            yield piece
    except zlib.error as error:
        raise Truncated(str(error)) from error
    if is_begun and not member.eof:
        raise Truncated("the packed data ends too early")


def _zstd(tap: Tap) -> Iterator[bytes]:
    stream = pa.PythonFile(io.BufferedReader(_Stream(tap), CHUNK_BYTES), "r")
    try:
        with pa.CompressedInputStream(stream, "zstd") as unpacked:
            while data := unpacked.read(_ZSTD_STEP_BYTES):
                yield data
    except OSError as error:
        if error.errno is not None:
            raise
        raise Truncated(str(error)) from error


class _Stream(io.RawIOBase):
    """A tap as Arrow wants it. Closing it leaves the source open."""

    def __init__(self, tap: Tap) -> None:
        self._tap = tap

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._tap.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _from_utf16(pieces: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """In UTF-8. Half of a character pair stays what it is, so that its line is refused and nothing else."""
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
    for piece in pieces:
        yield decoder.decode(piece).encode("utf-8", "surrogatepass")
    try:
        yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise Truncated("half of a character stands at its end") from error
