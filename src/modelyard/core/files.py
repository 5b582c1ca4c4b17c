"""Files that appear whole or not at all."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelyard.core.ids import new_id


def write_atomically(path: Path, data: bytes) -> None:
    """Write bytes to a neighbour, flush them to the disk, then rename over `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    neighbour = path.with_name(f".{path.name}.{new_id()}")
    try:
        with neighbour.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        neighbour.replace(path)
    finally:
        neighbour.unlink(missing_ok=True)


def write_json_atomically(path: Path, value: Any) -> None:
    """Write indented JSON atomically, for files that people also read."""
    write_atomically(path, json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n")


@contextmanager
def folder_atomically(path: Path) -> Iterator[Path]:
    """A scratch folder that becomes `path` when the block ends well, and vanishes when it does not.

    An older folder at `path` is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{new_id()}")
    scratch.mkdir()
    try:
        yield scratch
        if path.exists():
            old = path.with_name(f".{path.name}.{new_id()}.old")
            path.replace(old)
            scratch.replace(path)
            shutil.rmtree(old)
        else:
            scratch.replace(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def copy_folder_atomically(source: Path, path: Path) -> None:
    """Copy the files of a folder to `path`, writable, where they appear all at once."""
    with folder_atomically(path) as scratch:
        shutil.copytree(source, scratch, dirs_exist_ok=True, copy_function=shutil.copyfile)
