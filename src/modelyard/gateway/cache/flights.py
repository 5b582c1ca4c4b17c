"""Flights: equal requests that come while the first is still at the engine wait for its answer.

Each waits by itself: one that leaves takes nothing from the others, and one that waits in vain asks the engine.
"""

import asyncio


class Flight:
    """The first of some equal requests, on its way. The others wait here."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[bool]] = []

    async def wait(self, timeout_s: float) -> bool:
        """Wait for the first one's end. True: begin anew (look, else join); False: ask the engine for oneself.

        False follows where what came may not be given twice, or where it takes too long.
        """
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiters.append(waiter)
        # No `asyncio.timeout`: it needs a task, and a request has none.
        timer = loop.call_later(timeout_s, _settle, waiter, False)
        try:
            return await waiter
        finally:
            timer.cancel()

    def land(self, again: bool) -> None:
        """Wake everyone who still waits."""
        for waiter in self._waiters:
            _settle(waiter, again)


def _settle(waiter: asyncio.Future[bool], again: bool) -> None:
    if not waiter.done():
        waiter.set_result(again)


class Flights:
    """The flights of one service, by key. Whoever is told None by `join` goes, and must `land` whatever happens."""

    __slots__ = ("_flights",)

    def __init__(self) -> None:
        self._flights: dict[bytes, Flight] = {}

    def join(self, key: bytes) -> Flight | None:
        """The flight to wait for, None where the caller is the first."""
        flight = self._flights.get(key)
        if flight is None:
            self._flights[key] = Flight()
        return flight

    def land(self, key: bytes, *, again: bool) -> None:
        """The first one's end: `again` where its answer was kept, or where it left before there was one."""
        flight = self._flights.pop(key, None)
        if flight is not None:
            flight.land(again)
