"""Digests: everything immutable is addressed by the SHA-256 of its content, written `sha256:<hex>`."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec

_CHUNK_BYTES = 1 << 20
_canonical = msgspec.json.Encoder(order="sorted")


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: equal values give equal bytes."""
    return _canonical.encode(value)


def digest_bytes(data: bytes) -> str:
    """The digest of some bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_text(text: str) -> str:
    """The digest of a text in UTF-8."""
    return digest_bytes(text.encode())


def digest_json(value: Any) -> str:
    """The digest of a value by its canonical JSON."""
    return digest_bytes(canonical_json(value))


def digest_file(path: Path) -> str:
    """The digest of a file's bytes, read in pieces."""
    running = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            running.update(chunk)
    return "sha256:" + running.hexdigest()


def folder_manifest(folder: Path) -> dict[str, str]:
    """Every file below a folder by its relative POSIX path, with its digest."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): digest_file(path) for path in files}


def digest_folder(folder: Path) -> str:
    """The digest of a folder: that of its manifest."""
    return digest_json(folder_manifest(folder))


def short(digest: str) -> str:
    """The first twelve hex digits, for people and for names such as `support@1a2b3c4d5e6f`."""
    return digest.removeprefix("sha256:")[:12]
