"""Ingest: moves what the gateways wrote to their journal into the records, each entry exactly once.

The mark of a segment and the entries up to it are stored in one transaction, so this may be killed at any line and run
twice at once. A line without its newline is left until it has one. A damaged line is set aside in `rejected.jsonl`
beside the segments, once, before the mark moves past it. Segments that are ingested, old, and written no further are
removed (`modelyard.workflows.retention`).
"""

import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from modelyard.core.errors import InvalidInput, ModelyardError, Unavailable
from modelyard.ports.interaction import JournalEntry
from modelyard.ports.records import JournalMark, Records
from modelyard.workflows.retention import Retention

REJECTED = "rejected.jsonl"
_BATCH_LINES = 1000
_BATCH_BYTES = 8 << 20
_decoder: msgspec.json.Decoder[JournalEntry] = msgspec.json.Decoder(JournalEntry)
log = logging.getLogger(__name__)


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """A line that could not be ingested, as `rejected.jsonl` holds it."""

    segment: str
    offset: int
    reason: str
    line: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """A whole line of a segment, without its newline. `offset` is where it begins, `end` where the next one does."""

    segment: str
    offset: int
    end: int
    data: bytes

    def rejected(self, reason: object) -> Rejected:
        """The line as it is set aside."""
        text = self.data.decode(errors="backslashreplace")
        return Rejected(segment=self.segment, offset=self.offset, reason=str(reason), line=text)


class Ingester:
    """Reads every segment of a journal folder from its mark on. Entries are stored in batches of about 1,000.

    Segments that are ingested are removed after `keep_days`, never where it is 0.
    """

    def __init__(self, records: Records, journal_folder: Path, *, keep_days: float = 0) -> None:
        self._records = records
        self._retention = Retention(records.interactions, journal_folder, keep_days)
        self._folder = journal_folder
        self._rejects = Rejects(journal_folder / REJECTED)
        self._marks: dict[str, int] = {}

    def ingest_once(self) -> int:
        """Ingest what the segments hold by now; return how many entries were new.

        Raises: Unavailable where the folder cannot be read, and whatever the records raise.
        """
        num_new = sum(self._ingest_segment(path, size) for path, size in self._segments())
        for segment in self._retention.remove_old():
            self._marks.pop(segment, None)
        return num_new

    def run(self, stop: threading.Event, interval_s: float) -> None:
        """Ingest again and again until told to stop, and once more then. What fails is logged and tried again."""
        while True:
            stopping = stop.is_set()
            try:
                self.ingest_once()
            except ModelyardError as error:
                log.warning("the journal waits: %s", error)
            if stopping:
                return
            stop.wait(interval_s)

    def _segments(self) -> list[tuple[Path, int]]:
        """The segments that hold more than was ingested, oldest first, with their sizes."""
        try:
            found = list(sizes(self._folder))
        except OSError as error:
            raise Unavailable(f"the journal in {self._folder} cannot be read: {error.strerror}") from error
        return [(path, size) for path, size in found if size > self._marks.get(path.name, 0)]

    def _ingest_segment(self, path: Path, size: int) -> int:
        mark = self._marks[path.name] = self._records.interactions.mark(path.name)
        num_new = 0
        try:
            with path.open("rb") as file:
                for batch in read_batches(file, path.name, mark, size):
                    num_new += self._ingest_batch(batch)
                    self._marks[path.name] = batch[-1].end
        except FileNotFoundError:
            # Another ingester removed it, being ingested and old.
            self._marks.pop(path.name, None)
        except OSError as error:
            # The other segments go on.
            log.error("the journal segment %s cannot be read and waits: %s", path, error)
        return num_new

    def _ingest_batch(self, batch: list[Line]) -> int:
        entries, rejected = decode(batch)
        before = JournalMark(segment=batch[0].segment, offset=batch[0].offset)
        after = JournalMark(segment=batch[0].segment, offset=batch[-1].end)
        try:
            num_new = self._records.interactions.ingest(list(entries.values()), before if rejected else after)
        except InvalidInput:
            num_new, refused = self._ingest_singly(batch, entries, before)
            rejected = sorted(rejected + refused, key=lambda line: line.offset)
        if rejected:
            self._rejects.add(rejected)
            self._records.interactions.ingest([], after)
        return num_new

    def _ingest_singly(
        self, batch: list[Line], entries: dict[int, JournalEntry], before: JournalMark
    ) -> tuple[int, list[Rejected]]:
        """Ingest entry by entry, leaving the mark, to find those that the records cannot hold."""
        num_new, refused = 0, []
        for line in batch:
            if line.offset not in entries:
                continue
            try:
                num_new += self._records.interactions.ingest([entries[line.offset]], before)
            except InvalidInput as error:
                refused.append(line.rejected(error))
        return num_new, refused


class Rejects:
    """The file of lines set aside. It holds each once, whoever adds it how often, killed or not.

    A segment's lines are added in order, before its mark passes them; so whatever lies at or before the segment's last
    offset in the file is in it already.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, rejected: list[Rejected]) -> None:
        """Append the lines that are not there yet, and flush them to the disk. Raises: Unavailable."""
        try:
            with self._path.open("a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                last = _last_offsets(file)
                new = [line for line in rejected if line.offset > last.get(line.segment, -1)]
                file.write(b"".join(msgspec.json.encode(line) + b"\n" for line in new))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise Unavailable(f"damaged lines cannot be set aside in {self._path}: {error.strerror}") from error
        for line in new:
            log.warning("%s, byte %d: %s; set aside in %s", line.segment, line.offset, line.reason, self._path)


def sizes(folder: Path) -> Iterator[tuple[Path, int]]:
    """The segments of a journal and their sizes, oldest first. Raises: OSError."""
    for path in sorted(folder.glob("*.jsonl")):
        if path.name != REJECTED:
            with suppress(FileNotFoundError):  # removed meanwhile
                yield path, path.stat().st_size


def read_batches(
    file: BinaryIO, segment: str, offset: int, size: int, *, lines: int = 0, num_bytes: int = 0
) -> Iterator[list[Line]]:
    """The whole lines between an offset and the size that the segment had, in batches of so many lines and bytes."""
    lines, num_bytes = lines or _BATCH_LINES, num_bytes or _BATCH_BYTES
    file.seek(offset)
    batch: list[Line] = []
    start = offset
    while offset < size and (data := file.readline()).endswith(b"\n"):
        batch.append(Line(segment=segment, offset=offset, end=offset + len(data), data=data[:-1]))
        offset += len(data)
        if len(batch) == lines or offset - start > num_bytes:
            yield batch
            batch, start = [], offset
    if batch:
        yield batch


def decode(batch: list[Line]) -> tuple[dict[int, JournalEntry], list[Rejected]]:
    """The entries of the lines by their offsets, and the lines that hold none."""
    entries: dict[int, JournalEntry] = {}
    rejected = []
    for line in batch:
        try:
            entries[line.offset] = _decoder.decode(line.data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            rejected.append(line.rejected(error))
    return entries, rejected


def _last_offsets(file: BinaryIO) -> dict[str, int]:
    """The last offset set aside of each segment; a torn last line, left by a process that was killed, is cut off."""
    file.seek(0)
    last: dict[str, int] = {}
    whole = 0
    for data in file:
        if not data.endswith(b"\n"):
            file.truncate(whole)
            break
        whole += len(data)
        with suppress(msgspec.MsgspecError):  # a person may have edited the file
            line = msgspec.json.decode(data, type=Rejected)
            last[line.segment] = max(line.offset, last.get(line.segment, -1))
    return last
