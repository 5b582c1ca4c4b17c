"""The blob store: bytes and folders by digest. A folder is its manifest beside its files, so equal files lie once."""

import re
import shutil
from io import BytesIO
from pathlib import Path, PurePosixPath

import msgspec

from modelyard.adapters.blobs.places import SCRATCH, place_at, remove_leftovers, translated
from modelyard.core.digests import canonical_json, digest_bytes, digest_file, digest_folder, folder_manifest
from modelyard.core.errors import Corrupt, InvalidInput, NotFound
from modelyard.core.ids import new_id

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_READ_ONLY = 0o444


class FsspecBlobs:
    """Blobs at a URL of fsspec (a path, `memory://`, `s3://`), with a cache folder for whole folders.

    Layout: `<url>/sha256/ab/cdef...`, what is being written under `<url>/scratch`. Empty folders are not kept.
    """

    def __init__(self, url: str, cache: Path) -> None:
        self._place = place_at(url)
        self._cache = cache
        self._checked: set[str] = set()
        remove_leftovers(cache / SCRATCH)

    def put_bytes(self, data: bytes) -> str:
        """Store bytes and return their digest."""
        digest = digest_bytes(data)
        if self._place.size(digest) != len(data):
            self._place.write(digest, BytesIO(data))
        return digest

    def get_bytes(self, digest: str) -> bytes:
        """The bytes of a digest, checked."""
        self._demand(digest)
        data = self._place.read(digest)
        if digest_bytes(data) != digest:
            raise self._corrupt(digest)
        return data

    def put_folder(self, folder: Path) -> str:
        """Store every file below a folder, then its manifest. Links are followed to the files that they name."""
        if not folder.is_dir():
            raise NotFound(f"there is no folder {folder} to store")
        with translated(str(folder)):
            manifest = folder_manifest(folder)
            described = _describe(manifest, folder)
            for path, digest in manifest.items():
                self._put_file(folder / path, digest)
        return self.put_bytes(described)

    def get_folder(self, digest: str) -> Path:
        """A local, read-only copy of a stored folder. It is checked once by each process that asks for it."""
        self._demand(digest)
        target = self._cache / digest.removeprefix("sha256:")
        if not (digest in self._checked and target.is_dir()):
            with translated(str(self._cache)):
                if not (target.is_dir() and digest_folder(target) == digest):
                    self._bring(digest, target)
            self._checked.add(digest)
        return target

    def exists(self, digest: str) -> bool:
        """Whether a blob or a folder's manifest is there."""
        self._demand(digest)
        return self._place.size(digest) is not None

    def _put_file(self, path: Path, digest: str) -> None:
        if self._place.size(digest) != path.stat().st_size:
            with path.open("rb") as file:
                self._place.write(digest, file)

    def _bring(self, digest: str, target: Path) -> None:
        """Make the local copy of a folder.

        Not by `folder_atomically`: it would replace a copy that another process made meanwhile and reads from.
        """
        manifest = self._manifest(digest)
        scratch = self._cache / SCRATCH / new_id()
        scratch.mkdir(parents=True)
        try:
            for path, file_digest in manifest.items():
                self._bring_file(file_digest, scratch / path)
            if target.is_dir() and digest_folder(target) != digest:
                target.replace(self._cache / SCRATCH / new_id())
            _settle(scratch, target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _bring_file(self, digest: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        self._place.fetch(digest, target)
        if digest_file(target) != digest:
            raise self._corrupt(digest)
        target.chmod(_READ_ONLY)

    def _manifest(self, digest: str) -> dict[str, str]:
        try:
            manifest = msgspec.json.decode(self.get_bytes(digest), type=dict[str, str])
        except msgspec.MsgspecError as error:
            raise InvalidInput(f"the blob {digest} is not a folder", fix="ask for its bytes") from error
        for path, file_digest in manifest.items():
            self._demand(file_digest)
            pure = PurePosixPath(path)
            if pure.is_absolute() or ".." in pure.parts or not pure.parts:
                raise InvalidInput(f"the folder {digest} names a file outside itself: {path!r}")
        return manifest

    def _demand(self, digest: str) -> None:
        if not _DIGEST.fullmatch(digest):
            raise InvalidInput(f"'{digest}' is not a digest", expected="sha256: and 64 hex digits")

    def _corrupt(self, digest: str) -> Corrupt:
        where = self._place.where(digest)
        return Corrupt(
            f"the bytes at {where} do not match {digest}", fix=f"remove {where} and store it again, or make it again"
        )


def _settle(scratch: Path, target: Path) -> None:
    """Rename the scratch folder; where another process was quicker, its equal copy stays."""
    try:
        scratch.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _describe(manifest: dict[str, str], folder: Path) -> bytes:
    try:
        return canonical_json(manifest)
    except UnicodeEncodeError as error:
        raise InvalidInput(f"a file name below {folder} is not UTF-8: {error.object!r}", fix="rename it") from error
