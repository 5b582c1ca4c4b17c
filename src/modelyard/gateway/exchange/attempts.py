"""Attempts: who is asked for an answer, and who is asked next where one fails before its first byte."""

import asyncio
from time import monotonic

from modelyard.gateway.exchange.attempt import Attempt
from modelyard.gateway.exchange.call import Call
from modelyard.gateway.exchange.confidence import Probe
from modelyard.gateway.exchange.permits import Permit
from modelyard.gateway.flow import launch
from modelyard.gateway.recording.ledger import Ledger
from modelyard.gateway.routing.choice import Choice
from modelyard.gateway.routing.replicas import Replica
from modelyard.gateway.upstream import Pool


class Attempts:
    """The attempts at one call. `current` is the one whose answer goes to the caller, so far as is known.

    `permit` is charged for those that are recorded and followed by another.
    `unsure` are good answers whose engines were not sure of them: the last is given where no better one comes.
    """

    __slots__ = (
        "_call",
        "_failed",
        "_key",
        "_ledger",
        "_num_retries",
        "_pool",
        "_rivals",
        "_tried",
        "current",
        "permit",
        "unsure",
    )

    def __init__(self, call: Call, pool: Pool, ledger: Ledger) -> None:
        self._call = call
        self._pool = pool
        self._ledger = ledger
        self._key = 0
        self._tried: list[Replica] = []
        self._failed: list[str] = []
        self._num_retries = 0
        self._rivals: list[Attempt] = []
        self.current: Attempt | None = None
        self.permit: Permit | None = None
        self.unsure: tuple[Attempt, ...] = ()

    async def find(self, choice: Choice) -> Attempt:
        """An attempt whose answer can be given: a good one, or the last where none is.

        Raises: Refusal (503) where nobody can be asked.
        """
        call = self._call
        self._key = call.affinity()
        waited_s = 0.0
        while True:
            attempt = await self._try(choice)
            if attempt is not None:
                attempt.waited_s += waited_s
                if not self._is_failed(attempt):
                    better = self._better(attempt) if attempt.probe is not None else None
                    if better is None:
                        return attempt
                    choice, waited_s = better, attempt.waited_s
                    continue
                waited_s = attempt.waited_s
                if self._may_retry(attempt):
                    continue
            if self.unsure:
                return self._settle_for(attempt)
            following = self._following(choice, attempt)
            if following is None:
                if attempt is None:
                    raise choice.candidate.replicas.refusal(monotonic())
                return attempt
            if attempt is not None:
                # Another variant takes over, whose answer is recorded as its own.
                entry = self._ledger.enter(attempt)
                if self.permit is not None and entry.prompt_tokens:
                    self.permit.charge(entry.prompt_tokens + entry.completion_tokens, entry.cost_nanousd)
            self._ledger.metrics.fallbacks[
                call.route.service.name, following.name, attempt.error if attempt else ""
            ] += 1
            choice = following
            self._tried.clear()

    def abandon(self) -> None:
        """Stop whatever is still going on."""
        for attempt in self._rivals:
            attempt.abandon()
        if self.current is not None:
            self.current.abandon()

    async def _try(self, choice: Choice) -> Attempt | None:
        """One attempt, or two where the first is slow and the service hedges. None where no replica may be asked."""
        attempt = self._start(choice)
        if attempt is None:
            return None
        after_s = self._call.route.service.hedge_after_s
        if after_s:
            return await self._open_hedged(attempt, after_s)
        await attempt.open()
        return attempt

    def _start(self, choice: Choice) -> Attempt | None:
        now_s, call = monotonic(), self._call
        replica = choice.candidate.replicas.pick(self._key, now_s, self._tried)
        if replica is None:
            return None
        self._tried.append(replica)
        attempt = self.current = Attempt(self._pool, call, choice, replica, now_s)
        if self._num_retries:
            attempt.reason = f"{attempt.reason}, retried"
        if call.route.probes and not call.stream and call.said.kind != "embeddings":
            self._probe(attempt)
        return attempt

    def _probe(self, attempt: Attempt) -> None:
        """Have the engine tell how sure it is, where another one could be asked."""
        chooser = self._call.route.chooser
        preference = chooser.service.preference
        if preference is not None and chooser.escalate(attempt.choice) is not None:
            attempt.probe = Probe(preference)

    def _better(self, attempt: Attempt) -> Choice | None:
        """Who is asked where the engine was not sure of a good answer; None where it was, or there is no one."""
        probe = attempt.probe
        if probe is None or probe.is_confident or attempt.status != 200 or monotonic() >= self._call.deadline_s:
            return None
        route = self._call.route
        self.unsure = (*self.unsure, attempt)
        self._tried.clear()
        self._ledger.metrics.escalations[route.service.name, "confidence"] += 1
        return route.chooser.escalate(attempt.choice)

    def _settle_for(self, failed: Attempt | None) -> Attempt:
        """An answer that its engine was not sure of is better than none."""
        if failed is not None:
            self._ledger.enter(failed)
        self.current = self.unsure[-1]
        return self.current

    def enter_unsure(self, given: Attempt) -> tuple[int, int]:
        """Record the answers that were asked for and not given; the tokens and nano-dollars that they took."""
        entries = [self._ledger.enter(attempt) for attempt in self.unsure if attempt is not given]
        tokens = sum(entry.prompt_tokens + entry.completion_tokens for entry in entries)
        return tokens, sum(entry.cost_nanousd for entry in entries)

    def _is_failed(self, attempt: Attempt) -> bool:
        if attempt.role == "challenger" and attempt.choice.in_rollout:
            # Whatever it was, the champion may do better.
            return attempt.status != 200
        return attempt.status >= 500 or attempt.status in (408, 429)

    def _may_retry(self, attempt: Attempt) -> bool:
        now_s = monotonic()
        if now_s >= self._call.deadline_s or attempt.role == "challenger":
            return False
        replicas = attempt.choice.candidate.replicas
        if not replicas.several and attempt.error != "upstream_unavailable":
            return False
        if not self._call.route.chooser.may_retry(self._num_retries, now_s):
            return False
        self._num_retries += 1
        return True

    def _following(self, choice: Choice, attempt: Attempt | None) -> Choice | None:
        now_s = monotonic()
        if now_s >= self._call.deadline_s:
            return None
        self._failed.append(choice.name)
        code = attempt.error if attempt is not None else "unavailable"
        return self._call.route.chooser.fallback_after(self._failed, code, now_s)

    async def _open_hedged(self, first: Attempt, after_s: float) -> Attempt:
        """Ask a second replica where the first has said nothing after a while; who first begins a good answer wins."""
        began_s = monotonic()
        opening = {launch(first.open()): first}
        self._rivals.append(first)
        try:
            await asyncio.wait(opening, timeout=after_s)
            if not first.streaming and not first.body and (second := self._start(first.choice)) is not None:
                second.reason = f"{second.reason}, hedged"
                second.waited_s = monotonic() - began_s
                self._rivals.append(second)
                self._ledger.metrics.hedges[self._call.route.service.name, "sent"] += 1
                opening[launch(second.open())] = second
            winner = await self._race(opening)
            if winner is not first:
                self._ledger.metrics.hedges[self._call.route.service.name, "won"] += 1
            return winner
        except asyncio.CancelledError:
            for future in opening:
                future.cancel()
            raise
        finally:
            self._rivals.clear()

    async def _race(self, opening: dict[asyncio.Future[None], Attempt]) -> Attempt:
        waiting = dict(opening)
        winner = next(iter(opening.values()))
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                winner = waiting.pop(future)
                future.result()
                if not self._is_failed(winner):
                    break
            else:
                continue
            break
        for future, loser in waiting.items():
            future.cancel()
            loser.stop(499, "hedged")
        self.current = winner
        return winner
