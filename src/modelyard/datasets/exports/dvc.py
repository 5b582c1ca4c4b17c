"""A pointer file as `dvc add` writes it, so that DVC users can track what was exported.

Only the pointer is written: `dvc commit` or `dvc push` bring the bytes into DVC's cache. Source: DVC's documentation,
"`.dvc` files"; compared byte for byte with DVC 3.67.
"""

import hashlib
import json
from pathlib import Path

from modelyard.core.files import write_atomically

_CHUNK_BYTES = 1 << 20


def write_dvc_pointer(path: Path) -> Path:
    """Write `<path>.dvc` beside a file or folder."""
    told = _folder(path) if path.is_dir() else [f"md5: {_md5(path)}", f"size: {path.stat().st_size}"]
    lines = ["outs:", f"- {told[0]}", *(f"  {line}" for line in told[1:]), "  hash: md5", f"  path: {path.name}"]
    pointer = path.with_name(f"{path.name}.dvc")
    write_atomically(pointer, ("\n".join(lines) + "\n").encode())
    return pointer


def _folder(path: Path) -> list[str]:
    """DVC names a folder by the MD5 of a JSON list of its files."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    listing = sorted(
        ({"md5": _md5(file), "relpath": file.relative_to(path).as_posix()} for file in files),
        key=lambda one: one["relpath"],
    )
    digest = hashlib.md5(json.dumps(listing, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
    return [f"md5: {digest}.dir", f"size: {sum(file.stat().st_size for file in files)}", f"nfiles: {len(files)}"]


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
