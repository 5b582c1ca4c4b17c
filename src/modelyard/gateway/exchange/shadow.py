"""Shadows: copies of answered requests for the challenger. No client waits for them; only the journal sees them."""

import asyncio
from time import monotonic

from modelyard.gateway.exchange.attempt import Attempt
from modelyard.gateway.exchange.call import Call
from modelyard.gateway.flow import launch
from modelyard.gateway.guards.kills import Kills
from modelyard.gateway.recording.ledger import Ledger
from modelyard.gateway.upstream import Pool

MAX_IN_FLIGHT = 64


class Shadows:
    """Sends copies, at most so many at once; what is over that is dropped and counted."""

    def __init__(self, pool: Pool, ledger: Ledger, *, max_in_flight: int = MAX_IN_FLIGHT) -> None:
        self._pool = pool
        self._ledger = ledger
        self._max_in_flight = max_in_flight
        self._num_waiting = 0
        self._running: dict[asyncio.Future[None], Attempt] = {}

    def launch(self, call: Call, primary: Attempt) -> None:
        """Copy an answered request to its service's challenger, where the service asks for it."""
        if not call.route.service.shadow or primary.role != "champion":
            return
        choice = call.route.chooser.shadow
        if choice is None:
            return
        if len(self._running) + self._num_waiting >= self._max_in_flight:
            self._ledger.metrics.shadows_dropped += 1
            return
        now_s = monotonic()
        replica = choice.candidate.replicas.pick(call.affinity(), now_s)
        if replica is None:
            self._ledger.metrics.shadows_dropped += 1
            return
        attempt = Attempt(self._pool, call, choice, replica, now_s, shadow_of=primary.id)
        self._num_waiting += 1
        # Not before the answer itself is on its way.
        asyncio.get_running_loop().call_soon(self._start, attempt)

    def enforce_kills(self, kills: Kills) -> None:
        """End those that may not go on any more, and record them."""
        for future, attempt in list(self._running.items()):
            call = attempt.call
            killed = kills.refusal(call.key, call.tenant, call.route.service.name)
            if killed is not None:
                attempt.stop(killed.status, killed.code)
                self._ledger.enter(attempt)
                future.cancel()

    async def drain(self, limit_s: float) -> None:
        """Let those on the way arrive for a while, then break the others off."""
        await asyncio.sleep(0)
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=limit_s)
            self._ledger.metrics.shadows_dropped += len(late)
            for future in late:
                future.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _start(self, attempt: Attempt) -> None:
        self._num_waiting -= 1
        future = launch(self._run(attempt))
        self._running[future] = attempt
        self._ledger.metrics.shadows_in_flight = len(self._running)
        future.add_done_callback(self._forget)

    async def _run(self, attempt: Attempt) -> None:
        try:
            await attempt.open()
            if attempt.streaming:
                await attempt.pass_on()
            self._ledger.enter(attempt)
        finally:
            attempt.abandon()

    def _forget(self, future: asyncio.Future[None]) -> None:
        self._running.pop(future, None)
        self._ledger.metrics.shadows_in_flight = len(self._running)
