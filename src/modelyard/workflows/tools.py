"""What every workflow works with: the stores and the places of one project, chosen by `app.py`."""

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from modelyard.core.errors import Conflict, InvalidInput, NotFound
from modelyard.core.locks import locked
from modelyard.ports.blobs import Blobs
from modelyard.ports.compute import Compute
from modelyard.ports.records import Records
from modelyard.ports.tracking import Tracker
from modelyard.ports.workers import Workers

_SCRATCH_KEPT_S = 24 * 60 * 60


class Progress(Protocol):
    """Hears how far a piece of work is: `done` of `total`, and a note such as `loss 0.41`."""

    def __call__(self, done: float, total: float, note: str = "") -> None: ...


@dataclass(frozen=True, kw_only=True)
class Tools:
    """The outside world of one project.

    `actor` is the person who acts, `owner` who answers for the runs; relative paths in the project file start at
    `root`; `bases` are the base models by the names that engines know them by: those that ship with Modelyard and those
    of the project's recipes; `project` is its name, which its runs bear.
    """

    records: Records
    blobs: Blobs
    tracker: Tracker
    compute: Compute
    workers: Workers
    actor: str
    owner: str
    root: Path
    state: Path
    bases: Mapping[str, Path]
    project: str = ""

    def base_folder(self, base: str) -> Path:
        """The folder of a base model, by its name or by its path; of an exported one by its reference."""
        known = self.bases.get(base) or (self.root / base)
        if "@" in base and not known.exists():
            with suppress(NotFound):
                return self.blobs.get_folder(self.records.exports.find(base).blob)
        return known

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for work in progress, gone when the block ends; what killed work left goes after a day.

        Its lock says that somebody works in it: the system gives it back however the work ends.
        """
        folder = self.state / "scratch"
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.iterdir():
            _remove_abandoned(left)
        with TemporaryDirectory(dir=folder) as path, locked(Path(path)):
            yield Path(path)


def _remove_abandoned(left: Path) -> None:
    """Remove an old folder, unless somebody works in it or removes it meanwhile."""
    with suppress(Conflict, FileNotFoundError):
        if time.time() - left.stat().st_mtime > _SCRATCH_KEPT_S:
            with locked(left):
                shutil.rmtree(left, ignore_errors=True)


def said(what: str, text: str) -> str:
    """A text that is kept for ever, which must say something. Raises: InvalidInput."""
    if not text.strip():
        raise InvalidInput(f"{what} is empty", expected="a few words", fix=f"say {what}")
    return text.strip()


def silent(done: float, total: float, note: str = "") -> None:
    """The progress that nobody watches."""
