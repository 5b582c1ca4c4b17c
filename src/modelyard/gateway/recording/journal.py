"""Journal: every interaction and every feedback as one JSON line in a folder, for an ingester to move to the records.

A segment is named `<start of the gateway as UUIDv7>-<number>.jsonl`, so sorting by name is sorting by time, and one
process alone writes to it. A line is whole exactly where it ends in a newline: the last line of a process that was
killed may be torn, and a reader passes over it. Lines survive the death of the process, not that of the machine: they
are flushed to the disk when a segment is closed and once a second in between.

A segment is locked (`flock`) for as long as it may be written to; the ingester removes none that is. A process that is
forked writes to segments of its own.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
from collections import deque
from pathlib import Path
from time import monotonic

import msgspec

from modelyard.core.ids import new_id
from modelyard.ports.interaction import JournalEntry

SEGMENT_BYTES = 16 << 20
BACKLOG_BYTES = 8 << 20

logger = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder()


class Journal:
    """Appends entries to a folder. What cannot be written is kept, up to `BACKLOG_BYTES`, and tried again."""

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder = folder
        self.num_errors = 0
        self.num_lost = 0
        self._start = new_id()
        self._number = 0
        self._segment_bytes = segment_bytes
        self._descriptor = -1
        self._size = 0
        self._unsynced = False
        self._retired: list[int] = []
        self._failing = False
        self._backlog: deque[bytes] = deque()
        self._backlog_size = 0
        self._waiting_since_s = 0.0
        self.num_entries = 0
        self.num_bytes = 0
        _open.add(self)

    @property
    def start(self) -> str:
        """The name of this process's segments."""
        return self._start

    def position(self) -> tuple[str, int, int] | None:
        """How far it is written: start, number of the segment, bytes in it; None while entries wait."""
        return None if self._backlog else (self._start, self._number, self._size)

    @property
    def lag_s(self) -> float:
        """For how many seconds entries have been waiting to be written, 0 where none is."""
        return monotonic() - self._waiting_since_s if self._backlog else 0.0

    @property
    def backlog(self) -> int:
        """How many entries wait to be written."""
        return len(self._backlog)

    def append(self, entry: JournalEntry) -> None:
        """Write an entry. Never raises: a failure is counted, logged, and the entry kept for the next try."""
        line = _encoder.encode(entry) + b"\n"
        if self._backlog:
            self._keep(line)
            self.retry()
        elif not self._write(line):
            self._keep(line)

    def retry(self) -> None:
        """Write what waits, oldest first, up to the first failure."""
        while self._backlog and self._write(self._backlog[0]):
            self._backlog_size -= len(self._backlog.popleft())

    async def flush(self) -> None:
        """Write what waits, and flush to the disk in a thread, so that no answer waits for the disk."""
        self.retry()
        if self._unsynced or self._retired:
            self._unsynced = False
            retired = [self._retired.pop() for _ in range(len(self._retired))]
            # The open segment's descriptor is only ever closed below or in `close`, never during the flush.
            await asyncio.to_thread(_sync, [*retired, self._descriptor])
            for descriptor in retired:
                os.close(descriptor)

    def close(self) -> None:
        """Write what waits, flush and close."""
        self.retry()
        if self._backlog:
            self.num_lost += len(self._backlog)
            logger.error("the journal in %s is closed with %d entries unwritten", self.folder, len(self._backlog))
        self._retire_segment()
        _sync(self._retired)
        while self._retired:
            os.close(self._retired.pop())
        _open.discard(self)

    def _write(self, line: bytes) -> bool:
        try:
            if self._descriptor < 0:
                self._open_segment()
            written = os.write(self._descriptor, line)
            if written != len(line):
                self._take_back()
                raise OSError(f"{written} of {len(line)} bytes were written")
        except OSError as error:
            self._report(error)
            return False
        self._size += written
        self.num_entries += 1
        self.num_bytes += written
        self._unsynced = True
        if self._failing:
            self._failing = False
            logger.warning("the journal in %s can be written again", self.folder)
        if self._size >= self._segment_bytes:
            self._retire_segment()
        return True

    def _take_back(self) -> None:
        """Cut a torn line off, or leave it as the torn end of a segment that is written no further."""
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError:
            self._retire_segment()

    def _open_segment(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self._start}-{self._number + 1:06d}.jsonl"
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o640)
        with contextlib.suppress(OSError):  # a file system without locks: segments are written to for a while, then old
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._number += 1
        self._size = 0

    def _retire_segment(self) -> None:
        if self._descriptor >= 0:
            self._retired.append(self._descriptor)
            self._descriptor = -1

    def _begin_anew(self) -> None:
        """In a forked child: leave the parent's segments and backlog to the parent."""
        for descriptor in (self._descriptor, *self._retired):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor, self._retired, self._unsynced = -1, [], False
        self._backlog.clear()
        self._backlog_size = 0
        self._start, self._number = new_id(), 0

    def _keep(self, line: bytes) -> None:
        if not self._backlog:
            self._waiting_since_s = monotonic()
        self._backlog.append(line)
        self._backlog_size += len(line)
        while self._backlog_size > BACKLOG_BYTES:
            self._backlog_size -= len(self._backlog.popleft())
            self.num_lost += 1

    def _report(self, error: OSError) -> None:
        self.num_errors += 1
        if not self._failing:
            self._failing = True
            logger.error("the journal in %s cannot be written, entries are kept in memory: %s", self.folder, error)


_open: set[Journal] = set()


def _begin_all_anew() -> None:
    for journal in list(_open):
        journal._begin_anew()


os.register_at_fork(after_in_child=_begin_all_anew)


def _sync(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        if descriptor >= 0:
            # A disk that cannot flush was reported when it could not write; the lines are in the page cache.
            with contextlib.suppress(OSError):
                os.fsync(descriptor)
