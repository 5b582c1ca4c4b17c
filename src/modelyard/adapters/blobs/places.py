"""Places that hold blobs: a folder of this machine, or whatever fsspec reaches.

A place knows where the bytes of a digest lie and makes them appear whole. It knows nothing of folders and manifests.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from modelyard.core.clock import now_ms
from modelyard.core.errors import Conflict, InvalidInput, MissingExtra, NotFound, Unavailable
from modelyard.core.ids import milliseconds_of, new_id

SCRATCH = "scratch"
_CHUNK_BYTES = 1 << 20
_LEFTOVER_MS = 24 * 3600 * 1000
_READ_ONLY = 0o444


class Place(Protocol):
    """Where blobs lie. `name` is for messages."""

    name: str

    def where(self, digest: str) -> str:
        """The path or URL of a blob, for messages."""
        ...

    def size(self, digest: str) -> int | None:
        """How many bytes lie there, or None where there is no such blob."""
        ...

    def read(self, digest: str) -> bytes:
        """All bytes of a blob, unchecked. Raises: NotFound."""
        ...

    def write(self, digest: str, source: BinaryIO) -> None:
        """Make a blob from a stream. Raises: Conflict where the stream is not what its digest says."""
        ...

    def fetch(self, digest: str, target: Path) -> None:
        """Put a blob's bytes, unchecked, at a local path that is free. Raises: NotFound."""
        ...


def place_at(url: str) -> Place:
    """The place that a URL or a path means. Raises: InvalidInput, MissingExtra."""
    try:
        from fsspec.core import url_to_fs
        from fsspec.implementations.local import LocalFileSystem
    except ModuleNotFoundError as error:
        raise MissingExtra("fsspec", "records") from error
    try:
        files, root = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise InvalidInput(
            f"blobs cannot be kept at '{url}': {error}",
            expected="a folder, or a URL such as s3://bucket/folder",
            fix="mend the URL, or pip install the package that fsspec needs for it",
        ) from error
    return LocalPlace(Path(root)) if isinstance(files, LocalFileSystem) else RemotePlace(files, root)


class LocalPlace:
    """A folder. A blob is flushed to the disk under another name, then renamed; it is read-only from then on."""

    def __init__(self, root: Path) -> None:
        self.name = str(root)
        self._root = root
        self._scratch = root / SCRATCH
        remove_leftovers(self._scratch)

    def where(self, digest: str) -> str:
        """The path of a blob."""
        return str(self._path(digest))

    def size(self, digest: str) -> int | None:
        """The size of the file."""
        with translated(self.name, f"blob {digest}"):
            try:
                return self._path(digest).stat().st_size
            except FileNotFoundError:
                return None

    def read(self, digest: str) -> bytes:
        """The bytes of the file."""
        with translated(self.name, f"blob {digest}"):
            return self._path(digest).read_bytes()

    def write(self, digest: str, source: BinaryIO) -> None:
        """Copy the stream to a scratch file, check it, and rename it into its place."""
        scratch, target = self._scratch / new_id(), self._path(digest)
        with translated(self.name):
            scratch.parent.mkdir(parents=True, exist_ok=True)
            try:
                with scratch.open("xb") as file:
                    copy_checked(source, file, digest)
                    file.flush()
                    os.fsync(file.fileno())
                scratch.chmod(_READ_ONLY)
                target.parent.mkdir(parents=True, exist_ok=True)
                scratch.replace(target)
            finally:
                scratch.unlink(missing_ok=True)

    def fetch(self, digest: str, target: Path) -> None:
        """Link the file, so that weights lie on the disk once; copy it where that cannot be."""
        with translated(self.name, f"blob {digest}"):
            path = self._path(digest)
            try:
                target.hardlink_to(path)
            except OSError:
                shutil.copyfile(path, target)

    def _path(self, digest: str) -> Path:
        return self._root / _key(digest)


class RemotePlace:
    """A file system of fsspec. A blob is written under another name, then moved."""

    def __init__(self, files: Any, root: str) -> None:
        self.name = str(files.unstrip_protocol(root))
        self._files = files
        self._root = root.rstrip("/")

    def where(self, digest: str) -> str:
        """The URL of a blob."""
        return f"{self.name.rstrip('/')}/{_key(digest)}"

    def size(self, digest: str) -> int | None:
        """The size of the object."""
        with translated(self.name):
            try:
                return int(self._files.size(self._path(digest)))
            except FileNotFoundError:
                return None

    def read(self, digest: str) -> bytes:
        """The bytes of the object."""
        with translated(self.name, f"blob {digest}"):
            return bytes(self._files.cat_file(self._path(digest)))

    def write(self, digest: str, source: BinaryIO) -> None:
        """Upload the stream to a scratch object, and move it once it is checked."""
        scratch, target = f"{self._root}/{SCRATCH}/{new_id()}", self._path(digest)
        with translated(self.name):
            try:
                self._files.makedirs(f"{self._root}/{SCRATCH}", exist_ok=True)
                with self._files.open(scratch, "wb") as file:
                    copy_checked(source, file, digest)
                self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
                self._files.mv(scratch, target)
            except BaseException:
                with suppress(Exception):
                    self._files.rm_file(scratch)
                raise

    def fetch(self, digest: str, target: Path) -> None:
        """Download the object."""
        with translated(self.name, f"blob {digest}"):
            self._files.get_file(self._path(digest), str(target))

    def _path(self, digest: str) -> str:
        return f"{self._root}/{_key(digest)}"


def copy_checked(source: BinaryIO, target: Any, digest: str) -> None:
    """Copy a stream in pieces. Raises: Conflict where its bytes are not those of the digest."""
    running = hashlib.sha256()
    while chunk := source.read(_CHUNK_BYTES):
        running.update(chunk)
        target.write(chunk)
    if f"sha256:{running.hexdigest()}" != digest:
        raise Conflict("a file changed while it was being stored", fix="store it again when nothing writes to it")


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left among the scratch files, a day later: younger ones may be in use."""
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(OSError, ValueError):
            if milliseconds_of(path.name) < now_ms() - _LEFTOVER_MS:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def translated(name: str, wanted: str = "such file") -> Iterator[None]:
    """Turn what a file system raises within the block into our errors; `wanted` is what is missing if it is missing."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"there is no {wanted} in {name}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Unavailable(f"no space is left for {name}", fix="free some space and try again") from error
        seen = error.strerror or error
        raise Unavailable(f"{name} cannot be used: {seen}", fix="check that it is there and yours to use") from error


def _key(digest: str) -> str:
    hexdigits = digest.removeprefix("sha256:")
    return f"sha256/{hexdigits[:2]}/{hexdigits[2:]}"
