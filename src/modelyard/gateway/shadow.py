"""Shadows: copies of answered requests for the challenger. No client waits for them; only the journal sees them."""

import asyncio

from modelyard.gateway.attempt import Attempt
from modelyard.gateway.call import Call
from modelyard.gateway.ledger import Ledger
from modelyard.gateway.upstream import Pool

MAX_IN_FLIGHT = 64


class Shadows:
    """Sends copies, at most so many at once; what is over that is dropped and counted."""

    def __init__(self, pool: Pool, ledger: Ledger, *, max_in_flight: int = MAX_IN_FLIGHT) -> None:
        self._pool = pool
        self._ledger = ledger
        self._max_in_flight = max_in_flight
        self._tasks: set[asyncio.Task[None]] = set()

    def launch(self, call: Call, primary: Attempt) -> None:
        """Copy an answered request to its service's challenger, where the service asks for it."""
        target = call.route.challenger
        if not call.route.service.shadow or target is None or primary.role != "champion":
            return
        if len(self._tasks) >= self._max_in_flight:
            self._ledger.metrics.shadows_dropped += 1
            return
        attempt = Attempt(self._pool, call, "shadow", target, primary.propensity, shadow_of=primary.id)
        task = asyncio.create_task(self._run(attempt))
        self._tasks.add(task)
        self._ledger.metrics.shadows_in_flight = len(self._tasks)
        task.add_done_callback(self._forget)

    async def drain(self, limit_s: float) -> None:
        """Let those on the way arrive for a while, then break the others off."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=limit_s)
            self._ledger.metrics.shadows_dropped += len(late)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _run(self, attempt: Attempt) -> None:
        try:
            await attempt.open()
            if attempt.streaming:
                async for _ in attempt.pieces():
                    pass
            self._ledger.enter(attempt)
        finally:
            attempt.abandon()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._ledger.metrics.shadows_in_flight = len(self._tasks)
