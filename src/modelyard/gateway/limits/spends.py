"""Spends that outlive the process: a checkpoint once a second, and the journal's entries after it.

A checkpoint says what every scope had spent when the journal had been written up to some positions. Any one of them
is right by itself, whoever wrote it: to start, take it and add the entries that lie after its positions. This holds as
`Grant.settle` is called in the step that appends the entry, and no checkpoint is taken while entries wait to be
written.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import msgspec

from modelyard.core.files import write_atomically
from modelyard.gateway.limits.calendar import month_of
from modelyard.gateway.limits.local import LocalLimits

INTERVAL_S = 1.0
_BUSY_SHARE = 0.05
_READ_BYTES = 4 << 20

logger = logging.getLogger(__name__)

Position = Callable[[], tuple[str, int, int] | None]
"""How far the journal is written: the process's start, the number of its segment, the bytes in that; None while entries
wait to be written."""


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint as it lies on disk. `positions` are those of every process's segments, `spends` of day and month."""

    day: int
    month: int
    positions: dict[str, tuple[int, int]] = {}
    spends: dict[str, tuple[int, int]] = {}


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What of a journal's line counts here."""

    kind: str = ""
    at_ms: int = 0
    tenant: str = ""
    key_id: str = ""
    service: str = ""
    user: str = ""
    cost_nanousd: int = 0
    shadow_of: str = ""


_line_of = msgspec.json.Decoder(Spent)
_saved_of = msgspec.json.Decoder(Saved)


class Segment:
    """A file of the journal: `<start>-<number>.jsonl`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.start, _, number = path.stem.rpartition("-")
        self.number = int(number)


def segments_of(folder: Path, month_began_s: float) -> list[Segment]:
    """The segments that were written to since, oldest first."""
    found = [p for p in sorted(folder.glob("*-??????.jsonl")) if p.stat().st_mtime >= month_began_s]
    return [Segment(path) for path in found if path.stem[-6:].isdigit()]


def entries_of(path: Path, offset: int) -> Iterator[tuple[int, Spent]]:
    """The interactions of a segment after an offset, each with where it ends. A torn or damaged line is passed over."""
    with path.open("rb") as file:
        file.seek(offset)
        rest = b""
        while block := file.read(_READ_BYTES):
            lines = (rest + block).splitlines(keepends=True)
            rest = b"" if lines[-1].endswith(b"\n") else lines.pop()
            for line in lines:
                offset += len(line)
                try:
                    entry = _line_of.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue
                if entry.kind == "interaction" and not entry.shadow_of:
                    yield offset, entry


class Spends:
    """Restores the spends of a process's limits, and saves them. One for an event loop."""

    def __init__(self, limits: LocalLimits, checkpoint: Path, journal: Path, position: Position) -> None:
        self.num_errors = 0
        self.restored = False
        self._limits = limits
        self._path = checkpoint
        self._journal = journal
        self._position = position
        self._positions: dict[str, tuple[int, int]] = {}
        self._spends: dict[str, tuple[int, int]] = {}
        self._page = (0, 0)

    def restore(self) -> int:
        """Take the checkpoint and the journal after it into the accounts; how many entries were read.

        Call once, when the first table was taken and before the first request. Without a checkpoint the journal of
        the whole month is read.
        """
        self.restored = True
        saved = self._read()
        calendar = self._limits.calendar
        self._positions = dict(saved.positions)
        same_day, same_month = saved.day == calendar.day, saved.month == calendar.month
        for scope, (day, month) in saved.spends.items():
            self._add(scope.encode(), day if same_day else 0, month if same_month else 0)
        return self._replay()

    async def run(self) -> None:
        """Save once a second where something was spent, until cancelled; less often where saving takes long."""
        while True:
            began = monotonic()
            await self.save()
            await asyncio.sleep(max(INTERVAL_S, (monotonic() - began) / _BUSY_SHARE))

    async def save(self) -> bool:
        """Write a checkpoint, in a thread. False before `restore`, where nothing is new, or the journal is behind."""
        saved = self._snapshot() if self.restored else None
        if saved is None:
            return False
        try:
            await asyncio.to_thread(self._write, saved)
        except OSError as error:
            self.num_errors += 1
            logger.error("the spends cannot be saved; after a crash the journal is read from further back: %s", error)
            return False
        return True

    def _snapshot(self) -> Saved | None:
        """Accounts and position in one step; the dictionaries are copied, as a thread reads them."""
        calendar = self._limits.calendar
        calendar.look()
        page = (calendar.day, calendar.month)
        if not self._limits.spent and page == self._page:
            return None
        position = self._position()
        if position is None:
            return None
        start, number, offset = position
        changed = self._limits.spent
        if page != self._page:
            self._spends = {}
            self._page = page
            changed = set(self._limits.subjects.accounts.values())
        for account in changed:
            if account.minute != calendar.minute:
                account.turn(calendar)
            if account.month_spent or account.day_spent:
                self._spends[account.scope.decode()] = (account.day_spent, account.month_spent)
        self._limits.spent.clear()
        self._positions[start] = (number, offset)
        return Saved(day=page[0], month=page[1], positions=dict(self._positions), spends=dict(self._spends))

    def _write(self, saved: Saved) -> None:
        write_atomically(self._path, msgspec.json.encode(saved))

    def _read(self) -> Saved:
        try:
            return _saved_of.decode(self._path.read_bytes())
        except FileNotFoundError:
            return Saved(day=0, month=0)
        except (OSError, msgspec.DecodeError) as error:
            logger.error("the saved spends %s cannot be read, the journal is read instead: %s", self._path, error)
            return Saved(day=0, month=0)

    def _replay(self) -> int:
        count = 0
        for segment in segments_of(self._journal, self._limits.calendar.month_began_s()):
            number, offset = self._positions.get(segment.start, (0, 0))
            if segment.number < number:
                continue
            if segment.number > number:
                offset = 0
            for end, entry in entries_of(segment.path, offset):
                self._charge(entry)
                count += 1
                offset = end
            self._positions[segment.start] = (segment.number, offset)
        if count:
            logger.info("the limits count %d requests of the journal since the last checkpoint", count)
        return count

    def _charge(self, entry: Spent) -> None:
        calendar = self._limits.calendar
        seconds = entry.at_ms // 1000
        month = entry.cost_nanousd if month_of(seconds) == calendar.month else 0
        day = entry.cost_nanousd if seconds // 86400 == calendar.day else 0
        if not month:
            return
        for scope in self._limits.subjects.budgets_of(entry.tenant, entry.key_id, entry.service, entry.user):
            self._add(scope, day, month)

    def _add(self, scope: bytes, day: int, month: int) -> None:
        if not (day or month):
            return
        account = self._limits.subjects.account(scope)
        if account.minute != self._limits.calendar.minute:
            account.turn(self._limits.calendar)
        account.day_used += day
        account.day_spent += day
        account.month_used += month
        account.month_spent += month
        self._limits.spent.add(account)
