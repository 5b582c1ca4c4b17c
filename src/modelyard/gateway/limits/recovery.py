"""Recovery: settlements that a process could not send before it died are sent by the next one, from the journal.

A settlement is named by where its entry ends in the journal, and Redis holds how far those of a process are applied:
what lies after that mark is sent, so nothing is lost and nothing counts twice, whenever the process was killed.
"""

import fcntl
import logging
import os
from pathlib import Path
from typing import Any

from modelyard.core.errors import Unavailable
from modelyard.gateway.limits.calendar import Calendar, month_of
from modelyard.gateway.limits.settlements import Keys, Settlement
from modelyard.gateway.limits.spends import Position, Spent, entries_of, segments_of
from modelyard.gateway.limits.subjects import Subjects

_BATCH = 500
_SUFFIX = ".limits"
_END = 1 << 62

logger = logging.getLogger(__name__)


class Recovery:
    """Says where a process is in its journal, and marks it as alive by a locked file beside its journal's segments."""

    def __init__(self, journal: Path, start: str, position: Position, calendar: Calendar) -> None:
        self.start = start
        self._journal = journal
        self._position = position
        self._calendar = calendar
        journal.mkdir(parents=True, exist_ok=True)
        self._path = journal / f"{start}{_SUFFIX}"
        self._lock = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def position(self) -> int:
        """How far the journal is written, as one number; 0 while entries wait."""
        at = self._position()
        return 0 if at is None else at[1] << 32 | at[2]

    def settled_upto(self) -> int:
        """The position up to which all entries are settled. Raises: Unavailable while some wait to be written."""
        if (upto := self.position()) == 0:
            raise Unavailable("the journal cannot be written, so what was settled is not known", fix="make room for it")
        return upto

    def close(self, *, clean: bool) -> None:
        """The process ends; where all its settlements are applied, there is nothing to recover."""
        if clean:
            self._path.unlink(missing_ok=True)
        os.close(self._lock)

    async def send_others(self, redis: Any, settle: str, keys: Keys, subjects: Subjects) -> int:
        """Send what dead processes left; how many entries they were."""
        count = 0
        for path in sorted(self._journal.glob(f"*{_SUFFIX}")):
            if path == self._path:
                continue
            lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                count += await self._send(path.stem, _END, redis, settle, keys, subjects)
                path.unlink(missing_ok=True)
            except BlockingIOError:
                continue
            finally:
                os.close(lock)
        return count

    async def send_own(self, upto: int, redis: Any, settle: str, keys: Keys, subjects: Subjects) -> int:
        """Send what this process has settled up to a position and Redis does not know of."""
        return await self._send(self.start, upto, redis, settle, keys, subjects)

    async def _send(self, start: str, upto: int, redis: Any, settle: str, keys: Keys, subjects: Subjects) -> int:
        mark = keys.mark(start)
        after = int(await redis.hget(mark, "position") or 0)
        waiting: list[Settlement] = []
        count = 0
        for segment in segments_of(self._journal, self._calendar.month_began_s()):
            if segment.start != start or segment.number < after >> 32:
                continue
            offset = after & 0xFFFFFFFF if segment.number == after >> 32 else 0
            for end, entry in entries_of(segment.path, offset):
                if segment.number << 32 | end > upto:
                    break
                waiting.append(_settlement(segment.number << 32 | end, entry, keys, subjects))
                count += 1
                if len(waiting) == _BATCH:
                    await _send_all(waiting, redis, settle, mark)
        await _send_all(waiting, redis, settle, mark)
        if count:
            logger.warning("%d settlements were sent to Redis from the journal", count)
        return count


def _settlement(position: int, entry: Spent, keys: Keys, subjects: Subjects) -> Settlement:
    scopes = subjects.budgets_of(entry.tenant, entry.key_id, entry.service, entry.user)
    seconds = entry.at_ms // 1000
    # Nothing is known of its reservation: what that held is given back when its lease ends.
    numbers = (0, 0, 0, entry.cost_nanousd, seconds // 60, seconds // 86400, month_of(seconds))
    arguments = [b"", *(b"%d" % n for n in numbers), *[b"1"] * len(scopes)]
    return Settlement(position, 0, [key for scope in scopes for key in keys.of(scope)], arguments)


async def _send_all(waiting: list[Settlement], redis: Any, settle: str, mark: bytes) -> None:
    if waiting:
        async with redis.pipeline(transaction=False) as pipeline:
            for settlement in waiting:
                pipeline.execute_command("EVALSHA", settle, *settlement.command(mark))
            await pipeline.execute()
        waiting.clear()
