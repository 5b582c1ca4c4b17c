"""Blobs: content-addressed files and folders. What is read is checked against its digest."""

from pathlib import Path
from typing import Protocol


class Blobs(Protocol):
    """A store of immutable bytes. A digest names one byte string for ever; a folder goes by its manifest's digest."""

    def put_bytes(self, data: bytes) -> str:
        """Store bytes and return their digest. Storing the same bytes again costs nothing."""
        ...

    def get_bytes(self, digest: str) -> bytes:
        """The bytes of a digest. Raises: NotFound; Corrupt where they no longer match."""
        ...

    def put_folder(self, folder: Path) -> str:
        """Store every file below a folder and return the digest of its manifest."""
        ...

    def get_folder(self, digest: str) -> Path:
        """A local, read-only copy of a stored folder, checked and complete. Raises: NotFound, Corrupt."""
        ...

    def exists(self, digest: str) -> bool:
        """Whether the bytes of a digest, or the manifest of a folder, are there."""
        ...
