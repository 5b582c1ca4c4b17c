"""Retention: journal segments that are ingested and old are removed, and their marks with them.

A segment goes in three steps, each of which may be the last before a kill: it is renamed, its marks are dropped, it is
deleted. Whatever was renamed is finished the next time. A gateway holds a lock on each segment that it may still write
to, which the system gives back however the gateway ends: one that is locked stays, however old.
"""

import fcntl
import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from modelyard.core.clock import monotonic_s
from modelyard.ports.records import Interactions

GOING = ".going"
_DAY_S = 86_400.0
_LOOK_EVERY_S = 60.0
log = logging.getLogger(__name__)


class Retention:
    """Removes segments of one folder that are older than `keep_days`; none where it is 0."""

    def __init__(
        self, interactions: Interactions, folder: Path, keep_days: float, *, look_every_s: float = _LOOK_EVERY_S
    ) -> None:
        self._interactions, self._folder = interactions, folder
        self._keep_s = keep_days * _DAY_S
        self._look_every_s = look_every_s
        self._next_look_s = 0.0

    def remove_old(self) -> list[str]:
        """Remove what may go, once a minute at most; return the names. Raises what the records raise."""
        if not self._keep_s or monotonic_s() < self._next_look_s:
            return []
        self._next_look_s = monotonic_s() + self._look_every_s
        try:
            for path in self._old():
                if not _is_held(path) and self._is_ingested(path):
                    path.rename(path.with_name(path.name + GOING))
            return [self._finish(path) for path in sorted(self._folder.glob(f"*{GOING}"))]
        except OSError as error:
            log.warning("old journal segments in %s cannot be removed: %s", self._folder, error)
            return []

    def _old(self) -> Iterator[Path]:
        """The segments that nothing was written to for long enough. A file's time is wall time, so is ours here."""
        before_s = time.time() - self._keep_s
        for path in sorted(self._folder.glob("*-*.jsonl")):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before_s:
                    yield path

    def _is_ingested(self, path: Path) -> bool:
        """Whether no whole line is left. A torn one, the last of a gateway that was killed, is no entry."""
        with path.open("rb") as file:
            file.seek(self._interactions.mark(path.name))
            return not file.readline().endswith(b"\n")

    def _finish(self, path: Path) -> str:
        segment = path.name.removesuffix(GOING)
        self._interactions.forget_marks(segment)
        path.unlink(missing_ok=True)
        log.info("the journal segment %s was ingested and is old: removed", segment)
        return segment


def _is_held(path: Path) -> bool:
    """Whether a gateway may still write to it."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
