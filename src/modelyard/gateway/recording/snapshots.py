"""Snapshots: what each of several worker processes has counted, in a file each, so that any of them can tell the sum.

A worker that has ended stays counted, or counters would fall; its gauges do not. The parent empties the folder before
it starts workers.
"""

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from modelyard.core.ids import new_id
from modelyard.gateway.recording.exposition import State, without_gauges

_FRESH_S = 5.0
_decode = msgspec.json.Decoder(State).decode
logger = logging.getLogger(__name__)


class Snapshots:
    """The folder of one gateway's workers, seen by one of them. Make it in the worker, after the fork."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / f"{new_id()}.json"
        self._failing = False

    def write(self, state: State) -> None:
        """Write what this worker has counted; once a second is enough. Never raises: a failure is logged once."""
        fresh = self._path.with_suffix(".new")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(msgspec.json.encode(state))
            # No flush to the disk: it need not outlive the machine.
            os.replace(fresh, self._path)
        except OSError as error:
            if not self._failing:
                logger.warning("metrics cannot be shared between workers in %s: %s", self._folder, error)
            self._failing = True
        else:
            self._failing = False

    def others(self) -> Iterator[State]:
        """What the other workers had counted when they last wrote."""
        for path in sorted(self._folder.glob("*.json")):
            if path == self._path:
                continue
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                state = _decode(path.read_bytes())
                yield state if time.time() - path.stat().st_mtime < _FRESH_S else without_gauges(state)


def clear(folder: Path) -> None:
    """Remove what an earlier gateway left. The parent calls it before it starts workers."""
    for path in [*folder.glob("*.json"), *folder.glob("*.new")]:
        path.unlink(missing_ok=True)
