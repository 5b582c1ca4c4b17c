"""Leases: what one request asks of Redis, and what it holds there."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelyard.gateway.limits.local import Grant
from modelyard.gateway.limits.subjects import Subject

if TYPE_CHECKING:
    from modelyard.gateway.limits.shared import SharedLimits


class SharedGrant:
    """Leave to make one request, held in Redis under a lease, or decided here while Redis was down."""

    __slots__ = ("_cost", "_day", "_limits", "_local", "_minute", "_month", "_subjects", "_tokens", "id", "settled")

    def __init__(self, limits: "SharedLimits", subjects: Sequence[Subject], local: Grant | None) -> None:
        calendar = limits.local.calendar
        self._limits = limits
        self._subjects = subjects
        self._local = local
        self._minute, self._day, self._month = calendar.minute, calendar.day, calendar.month
        self._tokens = self._cost = 0
        self.id = ""
        self.settled = False

    def hold(self, id: str, tokens: int, cost: int, day: int, month: int) -> None:
        """What Redis has reserved, and for which day and month."""
        self.id = id
        self._tokens, self._cost = tokens, cost
        self._day, self._month = day, month

    @property
    def member(self) -> bytes:
        """The lease's name."""
        return f"{self.id}:{self._cost}:{self._day}:{self._month}".encode()

    @property
    def leases(self) -> list[bytes]:
        """The sorted sets that the lease may be in."""
        return [subject.arguments[1] for subject in self._subjects]

    def settle(self, tokens: int, cost_nanousd: int) -> None:
        """As `Grant.settle`: synchronous, exactly once, in the step that appends the journal's entry."""
        if self.settled:
            return
        self.settled = True
        if self._local is not None:
            self._local.settle(tokens, cost_nanousd)
        numbers = (self._tokens, tokens, self._cost, cost_nanousd, self._minute, self._day, self._month)
        money = [b"1" if subject.has_money else b"0" for subject in self._subjects]
        self._limits.settle(self, self._subjects, [self.id.encode(), *(b"%d" % n for n in numbers), *money])

    def charge(self, tokens: int, cost_nanousd: int) -> None:
        """As `Grant.charge`."""
        local = None if self._local is None else self._limits.local.enter(self._subjects)
        SharedGrant(self._limits, self._subjects, local).settle(tokens, cost_nanousd)

    def headers(self) -> bytes:
        """The x-ratelimit headers of the tightest subject, as a response's head holds them."""
        return self._limits.local.headers(self._subjects)


class Take:
    """A take on its way. `sent`: Redis may have applied it, whether or not anyone hears of it."""

    __slots__ = ("command", "cost", "future", "id", "sent", "subjects", "tokens")

    def __init__(self, id: str, subjects: Sequence[Subject], tokens: int, cost: int) -> None:
        self.id = id
        self.subjects = subjects
        self.tokens = tokens
        self.cost = cost
        self.command: list[bytes] = []
        self.future: asyncio.Future[list[int] | None] = asyncio.get_running_loop().create_future()
        self.sent = False
