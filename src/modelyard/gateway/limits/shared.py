"""Limits shared by several gateways through Redis: what is taken and settled in one turn of the loop travels together.

One connection, one batch on its way at a time; while it travels, the next one gathers. Where Redis does not answer,
takes are decided as `on_redis_down` says, and settlements wait.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from time import monotonic
from typing import Any, Literal

import msgspec

from modelyard.core.errors import MissingExtra
from modelyard.core.ids import new_id
from modelyard.gateway.errors import Refusal
from modelyard.gateway.flow import end, in_task
from modelyard.gateway.limits.leases import SharedGrant, Take
from modelyard.gateway.limits.local import LocalLimits
from modelyard.gateway.limits.recovery import Recovery
from modelyard.gateway.limits.refusals import Room
from modelyard.gateway.limits.scripts import SETTLE, TAKE
from modelyard.gateway.limits.settlements import Keys, Queue, Settlement
from modelyard.gateway.limits.subjects import Subject

_BATCH = 500
MAX_WAITING = 50_000
_RETRY_S = (0.05, 1.0)
_SUBJECT_FIELDS = 6

logger = logging.getLogger(__name__)


class SharedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where Redis is, and what happens without it. `url` may hold a password: it is never logged."""

    url: str
    on_redis_down: Literal["local", "open", "closed"] = "local"
    timeout_s: float = 0.05
    lease_s: float = 60.0
    prefix: str = "modelyard"


class SharedLimits:
    """Takes and settles through Redis for one event loop. `up` says whether Redis answered last."""

    def __init__(self, settings: SharedSettings, local: LocalLimits, recovery: Recovery | None = None) -> None:
        self.settings = settings
        self.local = local
        self.keys = Keys(settings.prefix)
        self.up = False
        self.num_outages = 0
        self.num_without_redis = 0
        self._redis: Any = _connect(settings)
        self._recovery = recovery
        self._start = recovery.start if recovery else new_id()
        self._mark = self.keys.mark(self._start)
        self._position = self._number = 0
        self._takes: list[Take] = []
        self._queue: Queue = Queue()
        self._held: set[SharedGrant] = set()
        self._scripts: tuple[str, str] | None = None
        self._wake = asyncio.Event()
        self._known = asyncio.Event()
        self._sent = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._extend_at_s = 0.0
        self._num_grants = 0
        self._is_behind = False

    @property
    def waiting(self) -> int:
        """How many settlements Redis has not confirmed yet."""
        return len(self._queue)

    @property
    def started(self) -> bool:
        """Whether it has begun to speak to Redis."""
        return self._task is not None

    def begin(self) -> None:
        """Begin to speak to Redis, which need not be there yet. Call once the first table was taken."""
        self._task = asyncio.create_task(self._run())

    async def start(self) -> None:
        """Begin, and wait a while for the first answer."""
        self.begin()
        await self.first_answer()

    async def first_answer(self) -> None:
        """Wait a while for it, so that the requests that come at once are not decided without Redis."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(1.0, 4 * self.settings.timeout_s)):
                await self._known.wait()

    async def close(self, drain_s: float = 5.0) -> None:
        """Send what waits for up to `drain_s`; what is left then is sent by the next start, from the journal."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                while self._queue:
                    self._sent.clear()
                    self._wake.set()
                    await self._sent.wait()
        if self._queue:
            logger.error("%d settlements did not reach Redis before the end", len(self._queue))
        if self._task is not None:
            await end(self._task)
        if self._recovery is not None:
            self._recovery.close(clean=not self._queue)
        with contextlib.suppress(Exception):
            await self._redis.aclose()

    async def take(self, subjects: Sequence[Subject], tokens: int, cost_nanousd: int) -> SharedGrant:
        """As `LocalLimits.take`, over all gateways. Raises: Refusal (429; 503 where Redis is down and it is closed)."""
        if not self._known.is_set():
            await in_task(self.first_answer())
        if not self.up:
            return self._take_without(subjects, tokens, cost_nanousd)
        self._num_grants += 1
        take = Take(f"{self._start}/{self._num_grants}", subjects, tokens, cost_nanousd)
        take.command = self._take_command(take.id, subjects, tokens, cost_nanousd)
        self._takes.append(take)
        self._wake.set()
        try:
            answer = await take.future
        except asyncio.CancelledError:
            # An answer that is still to come is given back by `_exchange`.
            if not take.future.cancelled():
                self._give_back(take, take.future.result())
            raise
        if answer is None:
            return self._take_without(subjects, tokens, cost_nanousd)
        return self._read(take.id, subjects, tokens, cost_nanousd, answer)

    def settle(self, grant: SharedGrant, subjects: Sequence[Subject], arguments: list[bytes]) -> None:
        """Queue a settlement. For grants alone."""
        self._held.discard(grant)
        if self._is_behind:
            return
        keys = [key for subject in subjects for key in self.keys.arguments(subject)[:2]]
        position = self._recovery.position() if self._recovery else 0
        if position > self._position:
            self._position, self._number = position, 0
        self._number += 1
        self._queue.append(Settlement(self._position, self._number, keys, arguments))
        self._wake.set()
        # In a long outage the journal is the queue: it holds the same, and memory does not grow.
        self._is_behind = not self.up and self._recovery is not None and len(self._queue) >= MAX_WAITING

    def _give_back(self, take: Take, answer: list[int] | None) -> None:
        """Settle a take that nobody heard of at nothing. `answer` is Redis's, None where that did not come.

        Whether money and place are held, their lease knows. Tokens have none: where it is not sure that they were
        taken they are left to fade with their minute, as giving back what was not taken would let more through.
        """
        if answer is not None and answer[0] != 1:
            return
        calendar = self.local.calendar
        calendar.look()
        grant = SharedGrant(self, take.subjects, None)
        tokens, day, month = (take.tokens, *answer[1:3]) if answer else (0, calendar.day, calendar.month)
        grant.hold(take.id, tokens, take.cost, day, month)
        grant.settle(0, 0)

    def _take_without(self, subjects: Sequence[Subject], tokens: int, cost: int) -> SharedGrant:
        self.num_without_redis += 1
        if self.settings.on_redis_down == "closed":
            message = "Limits cannot be checked at the moment, and without them nothing is let through. Try again."
            raise Refusal(503, "limits_unavailable", message, headers=((b"retry-after", b"1"),))
        self.local.calendar.look()
        if self.settings.on_redis_down == "open":
            return SharedGrant(self, subjects, None)
        return SharedGrant(self, subjects, self.local.take(subjects, tokens, cost))

    def _take_command(self, id: str, subjects: Sequence[Subject], tokens: int, cost: int) -> list[bytes]:
        keys: list[bytes] = []
        lease_ms = int(self.settings.lease_s * 1000)
        arguments = [id.encode(), b"%d" % lease_ms, b"%d" % tokens, b"%d" % cost]
        for subject in subjects:
            made = subject.arguments or self.keys.arguments(subject)
            keys += made[:2]
            arguments += made[2:]
        return [b"%d" % len(keys), *keys, *arguments]

    def _read(self, id: str, subjects: Sequence[Subject], tokens: int, cost: int, answer: list[int]) -> SharedGrant:
        """The grant, or the refusal, of Redis's answer. The accounts here learn what all gateways have used."""
        calendar = self.local.calendar
        now = calendar.look()
        running = []
        for at, subject in enumerate(subjects):
            first = 3 + at * _SUBJECT_FIELDS
            due_us, used, before, in_flight, day_used, month_used = answer[first : first + _SUBJECT_FIELDS]
            account = subject.account
            if account.minute != calendar.minute:
                account.turn(calendar)
            account.due_s = now + due_us / 1e6
            account.tokens, account.tokens_before = used, before
            account.day_used, account.month_used = day_used, month_used
            running.append(in_flight)
        if answer[0] == 1:
            grant = SharedGrant(self, subjects, None)
            grant.hold(id, tokens, cost, answer[1], answer[2])
            self._held.add(grant)
            return grant
        here = [subject.account.in_flight for subject in subjects]
        for subject, in_flight in zip(subjects, running, strict=True):
            subject.account.in_flight = in_flight
        refusal = Room(subjects, calendar, now).refusal(tokens, cost)
        for subject, in_flight in zip(subjects, here, strict=True):
            subject.account.in_flight = in_flight
        raise refusal

    # The one task that speaks to Redis.

    async def _run(self) -> None:
        pause_s = _RETRY_S[0]
        while True:
            try:
                if self._scripts is None:
                    await self._arrive()
                    pause_s = _RETRY_S[0]
                await self._exchange()
                if not (self._takes or self._queue):
                    await self._rest()
            except asyncio.CancelledError:
                self._fail_takes()
                raise
            except Exception as error:
                self._note_outage(error)
                # An answer that comes late must not be read as that to another question.
                with contextlib.suppress(Exception):
                    await self._redis.connection_pool.disconnect()
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _RETRY_S[1])

    async def _arrive(self) -> None:
        """A connection that answers, the scripts, and first of all the settlements that wait."""
        async with asyncio.timeout(max(1.0, self.settings.timeout_s)):
            self._scripts = (await self._redis.script_load(TAKE), await self._redis.script_load(SETTLE))
        if self._recovery is not None:
            await self._recovery.send_others(self._redis, self._scripts[1], self.keys, self.local.subjects)
        while self._queue or self._is_behind:
            if self._recovery is not None and self._is_behind:
                await self._catch_up(self._recovery, self._scripts[1])
            await self._exchange()
        self.up = True
        self._known.set()
        if self.num_outages:
            logger.warning("Redis answers again: limits are shared")

    async def _catch_up(self, recovery: Recovery, settle: str) -> None:
        """Send from the journal what the queue holds and what no longer fitted into it."""
        upto = recovery.settled_upto()
        self._queue.clear()
        self._is_behind = False
        try:
            await recovery.send_own(upto, self._redis, settle, self.keys, self.local.subjects)
        except BaseException:
            self._is_behind = True
            raise

    async def _rest(self) -> None:
        """Wait for work, and extend the leases of requests that take long, three times in a lease."""
        self._wake.clear()
        every = self.settings.lease_s / 3
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(every):
                await self._wake.wait()
        if monotonic() >= self._extend_at_s:
            self._extend_at_s = monotonic() + every
            await self._extend()

    async def _exchange(self) -> None:
        """One batch: settlements first, so that what they give back is there for the takes."""
        takes = [take for take in self._takes if not take.future.done()]
        self._takes = []
        for take in takes:
            take.sent = True
        settlements = [self._queue[at] for at in range(min(len(self._queue), _BATCH))]
        if not (takes or settlements) or self._scripts is None:
            return
        try:
            results = await self._send(*self._scripts, takes, settlements)
            for _, result in zip(settlements, results, strict=False):
                if isinstance(result, Exception):
                    raise result
                self._queue.popleft()
            self._sent.set()
            for take, result in zip(takes, results[len(settlements) :], strict=True):
                if isinstance(result, Exception):
                    raise result
                if not take.future.done():
                    take.future.set_result(result)
                else:
                    self._give_back(take, result)
                take.sent = False
        except BaseException:
            self._takes = takes + self._takes
            raise

    async def _send(self, take: str, settle: str, takes: list[Take], settlements: list[Settlement]) -> list[Any]:
        async with asyncio.timeout(self.settings.timeout_s), self._redis.pipeline(transaction=False) as pipeline:
            for settlement in settlements:
                pipeline.execute_command("EVALSHA", settle, *settlement.command(self._mark))
            for each in takes:
                pipeline.execute_command("EVALSHA", take, *each.command)
            results: list[Any] = await pipeline.execute(raise_on_error=False)
            return results

    async def _extend(self) -> None:
        lease_ms = int(self.settings.lease_s * 1000)
        held = list(self._held)
        for first in range(0, len(held), _BATCH):
            async with asyncio.timeout(max(1.0, self.settings.timeout_s)):
                seconds, micros = await self._redis.time()
                until = seconds * 1000 + micros // 1000 + lease_ms
                async with self._redis.pipeline(transaction=False) as pipeline:
                    for grant in held[first : first + _BATCH]:
                        for leases in grant.leases:
                            pipeline.zadd(leases, {grant.member: until}, xx=True)
                            pipeline.pexpire(leases, lease_ms * 10)
                    await pipeline.execute(raise_on_error=False)

    def _note_outage(self, error: Exception) -> None:
        self._scripts = None
        if self.up or self.num_outages == 0:
            self.num_outages += 1
            # The text of a connection's error holds an address; that of a command's does not.
            told = str(error) if type(error).__name__.endswith("ResponseError") else type(error).__name__
            logger.error("Redis does not answer (%s): limits are '%s' now", told, self.settings.on_redis_down)
        self.up = False
        self._known.set()
        self._fail_takes()

    def _fail_takes(self) -> None:
        takes, self._takes = self._takes, []
        for take in takes:
            if take.sent:
                self._give_back(take, None)
            if not take.future.done():
                take.future.set_result(None)


def _connect(settings: SharedSettings) -> Any:
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError as error:
        raise MissingExtra("redis", "redis") from error
    # A command that redis-py sent again by itself would be applied twice.
    return Redis.from_url(settings.url, retry=Retry(NoBackoff(), 0), retry_on_error=[])
