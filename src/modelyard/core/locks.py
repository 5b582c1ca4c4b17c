"""Lock files: one process at a time. The system gives a lock back however its holder ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from modelyard.core.errors import Conflict


@contextmanager
def hold(path: Path, taken: str, *, fix: str = "") -> Iterator[None]:
    """Hold the lock of a file, which is made where it is missing; its folder must be there.

    Raises: Conflict where another process holds it: `taken`, a sentence without its end such as "the folder is in use",
    goes on with "by process 123". Conflict as well where the file or its folder was moved or removed meanwhile.
    """
    with _opened(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Conflict(f"{taken} by process {file.read().strip() or 'unknown'}", fix=fix) from None
        if not _is_at(path, file.fileno()):
            raise _gone(path)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _opened(path: Path) -> TextIO:
    try:
        return path.open("a+")
    except FileNotFoundError:
        raise _gone(path) from None


def _gone(path: Path) -> Conflict:
    return Conflict(f"{path} was moved or removed by another process", fix="run the same command again")


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file is still the one at the path: else we would hold the lock of something gone."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder itself, which leaves no file. Raises: Conflict; FileNotFoundError where it is gone."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"another process works in {folder}") from None
        yield
    finally:
        os.close(descriptor)
