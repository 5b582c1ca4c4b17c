"""A bounded line in front of a service: who goes first, who is turned away, and that no tenant crowds out its equals.

Costs one comparison where there is room. One event loop runs it; nothing here awaits.
"""

from asyncio import Future, TimerHandle, get_running_loop
from collections import deque
from collections.abc import Callable
from math import ceil
from time import monotonic

from modelyard.gateway.errors import Refusal
from modelyard.ports.serving import Queue

_SMOOTHING = 0.1
_MIN_LEAVES = 5
_KNOWN_S = 10.0


class Waiter:
    """A request in line. `future` ends without a value once it may go, or with a `Refusal`."""

    __slots__ = ("_admission", "deadline_s", "future", "priority", "since_s", "tenant", "timer")

    def __init__(
        self,
        admission: "Admission",
        priority: int,
        tenant: str,
        deadline_s: float,
        since_s: float,
        future: "Future[None]",
    ) -> None:
        self._admission = admission
        self.priority = priority
        self.tenant = tenant
        self.deadline_s = deadline_s
        self.since_s = since_s
        self.future = future
        self.timer: TimerHandle | None = None

    def give_up(self) -> None:
        """Leave the line, or give a place back that was got but not used: the caller is gone."""
        self._admission.give_up(self)


class Line:
    """Those who wait: by priority, highest first, then by tenant in turns, then in the order they came."""

    __slots__ = ("_levels", "_waiting")

    def __init__(self) -> None:
        self._levels: dict[int, dict[str, deque[Waiter]]] = {}
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def push(self, waiter: Waiter) -> None:
        """Let one wait."""
        self._levels.setdefault(waiter.priority, {}).setdefault(waiter.tenant, deque()).append(waiter)
        self._waiting += 1

    def pop(self) -> Waiter | None:
        """The one whose turn it is; its tenant's next turn comes after all others of the priority."""
        if not self._levels:
            return None
        tenants = self._levels[max(self._levels)]
        tenant = next(iter(tenants))
        waiter = tenants[tenant][0]
        self.remove(waiter)
        if tenant in tenants:
            tenants[tenant] = tenants.pop(tenant)
        return waiter

    def remove(self, waiter: Waiter) -> bool:
        """Take one out. False where it is not in line."""
        tenants = self._levels.get(waiter.priority, {})
        queue = tenants.get(waiter.tenant, ())
        if waiter not in queue:
            return False
        tenants[waiter.tenant].remove(waiter)
        self._waiting -= 1
        if not tenants[waiter.tenant]:
            del tenants[waiter.tenant]
        if not tenants:
            del self._levels[waiter.priority]
        return True

    def ahead_of(self, priority: int) -> int:
        """How many would go before a newcomer of this priority."""
        levels = self._levels.items()
        return sum(len(queue) for level, tenants in levels if level >= priority for queue in tenants.values())

    def victim(self, priority: int, tenant: str) -> Waiter | None:
        """Who must go for a newcomer: of the lowest priority, of the tenant with most in line, the newest. None where
        that is the newcomer itself."""
        lowest = min(self._levels, default=priority)
        if priority < lowest:
            return None
        tenants = self._levels.get(lowest, {})
        own = len(tenants.get(tenant, ())) + 1 if priority == lowest else 0
        longest = max(tenants.values(), key=len, default=None)
        return longest[-1] if longest and len(longest) > own else None


class Admission:
    """A service's places at its engines, and the line for them. Every `enter` that lets in is followed by one `leave`.

    `in_flight` counts the places taken. The gap between two leavings, while there is a line, tells how long the line
    takes: a request that cannot be answered before its deadline is turned away at once, not after waiting in vain.
    """

    __slots__ = ("_clock", "_gap_s", "_last_s", "_leaves", "_line", "_measured_s", "in_flight", "num_shed", "queue")

    def __init__(self, queue: Queue, *, clock: Callable[[], float] = monotonic) -> None:
        self.queue = queue
        self._clock = clock
        self.in_flight = 0
        self.num_shed = 0
        self._line = Line()
        self._gap_s = 0.0
        self._last_s = 0.0
        self._leaves = 0
        self._measured_s = 0.0

    @property
    def num_waiting(self) -> int:
        """How many are in line."""
        return len(self._line)

    def enter(self, priority: int, tenant: str, deadline_s: float) -> Waiter | None:
        """Take a place: None where there is one, else a waiter whose future tells when there is.

        `deadline_s` is the monotonic moment by which the caller wants the whole answer.
        Raises: Refusal (503 `overloaded`) where the line is full of others as important, or too long for the deadline.
        """
        if self.in_flight < self.queue.max_in_flight:
            self.in_flight += 1
            return None
        return self._wait(priority, tenant, deadline_s, self._clock())

    def leave(self) -> None:
        """Give a place back, when the answer has ended."""
        line = self._line
        if not line:
            self.in_flight -= 1
            self._last_s = 0.0
            return
        now_s = self._clock()
        self._measure(now_s)
        self.in_flight -= 1
        self._let_in(now_s)

    def give_up(self, waiter: Waiter) -> None:
        """See `Waiter.give_up`."""
        future = waiter.future
        if self._line.remove(waiter):
            self._stop(waiter)
            future.cancel()
        elif future.done() and not future.cancelled() and future.exception() is None:
            self.leave()

    def wait_s(self, priority: int) -> float:
        """How long a newcomer would wait for its place, as far as is known; 0 where it is not."""
        return (self._line.ahead_of(priority) + 1) * self._known_gap_s()

    def _wait(self, priority: int, tenant: str, deadline_s: float, now_s: float) -> Waiter:
        if self._ends_s(now_s + self.wait_s(priority)) > deadline_s or now_s >= deadline_s:
            raise self._overloaded("it could not be answered before its deadline", priority)
        if len(self._line) >= self.queue.max_waiting:
            victim = self._line.victim(priority, tenant)
            if victim is None:
                raise self._overloaded("the line for it is full", priority)
            self._shed(victim, "the line is full and others go first")
        loop = get_running_loop()
        waiter = Waiter(self, priority, tenant, deadline_s, now_s, loop.create_future())
        self._line.push(waiter)
        until_s = max(0.0, min(deadline_s - now_s, self.queue.wait_s))
        waiter.timer = loop.call_later(until_s, self._expire, waiter)
        return waiter

    def _let_in(self, now_s: float) -> None:
        while self.in_flight < self.queue.max_in_flight and (waiter := self._line.pop()):
            if waiter.future.done():
                self._stop(waiter)
            elif self._ends_s(now_s) > waiter.deadline_s:
                self._refuse(waiter, "it could not be answered before its deadline any more")
            else:
                self._stop(waiter)
                self.in_flight += 1
                waiter.future.set_result(None)

    def _ends_s(self, start_s: float) -> float:
        """When an answer begun then would end: with every place taken, one takes as many gaps as there are places."""
        return start_s + self._known_gap_s() * self.queue.max_in_flight

    def _known_gap_s(self) -> float:
        """Seconds between two leavings, 0 where too few were seen of late: an old number would keep the line empty,
        and so never be renewed."""
        if self._leaves < _MIN_LEAVES or self._clock() - self._measured_s > _KNOWN_S + self._gap_s:
            return 0.0
        return self._gap_s

    def _measure(self, now_s: float) -> None:
        if self._last_s:
            gap_s = now_s - self._last_s
            self._gap_s += (gap_s - self._gap_s) * (
                _SMOOTHING if self._leaves >= _MIN_LEAVES else 1 / (self._leaves + 1)
            )
            self._leaves += 1
            self._measured_s = now_s
        self._last_s = now_s

    def _expire(self, waiter: Waiter) -> None:
        self._shed(waiter, f"no place came free in {self._clock() - waiter.since_s:.3g} s")

    def _shed(self, waiter: Waiter, why: str) -> None:
        if self._line.remove(waiter):
            self._refuse(waiter, why)

    def _refuse(self, waiter: Waiter, why: str) -> None:
        self._stop(waiter)
        if not waiter.future.done():
            waiter.future.set_exception(self._overloaded(why, waiter.priority))

    def _stop(self, waiter: Waiter) -> None:
        if waiter.timer is not None:
            waiter.timer.cancel()
            waiter.timer = None

    def _overloaded(self, why: str, priority: int) -> Refusal:
        self.num_shed += 1
        seconds = max(1, min(60, ceil(self.wait_s(priority))))
        message = f"The service has more requests than its engines can take: {why}. Try again in {seconds} s."
        return Refusal(503, "overloaded", message, headers=((b"retry-after", b"%d" % seconds),))


def deadline_of(header: bytes | None, started_s: float, total_s: float) -> float:
    """The monotonic moment by which a request wants its whole answer: `x-modelyard-deadline-ms` after it came, and at
    the latest when the service's total time is over. Raises: Refusal (400) for a header that is no number."""
    if header is None:
        return started_s + total_s
    if not (header.isdigit() and len(header) <= 12 and int(header)):
        message = "'x-modelyard-deadline-ms' must be a whole number of milliseconds, 1 or more."
        raise Refusal(400, "invalid_deadline", message, param="x-modelyard-deadline-ms")
    return started_s + min(int(header) / 1000, total_s)
