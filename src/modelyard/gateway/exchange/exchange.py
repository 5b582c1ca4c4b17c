"""Exchange: one client request from its checked call to the end of its answer."""

import asyncio
import logging
from time import monotonic
from typing import cast

from modelyard.core.money import tokens_cost
from modelyard.gateway.cache.answers import Hit, Unusable
from modelyard.gateway.dialects.dialect import error_body, id_lines
from modelyard.gateway.errors import Refusal, refused
from modelyard.gateway.exchange.answer import Answer
from modelyard.gateway.exchange.attempt import CLIENT_GONE, Attempt
from modelyard.gateway.exchange.attempts import Attempts
from modelyard.gateway.exchange.caching import Caching, answer_from
from modelyard.gateway.exchange.call import Call
from modelyard.gateway.exchange.permits import Permit, Permits
from modelyard.gateway.exchange.shadow import Shadows
from modelyard.gateway.exchange.target import Target
from modelyard.gateway.flow import Flow
from modelyard.gateway.http import Reply
from modelyard.gateway.http.refusals import broken
from modelyard.gateway.recording.ledger import Ledger
from modelyard.gateway.routing.admission import Admission
from modelyard.gateway.routing.choice import Choice
from modelyard.gateway.upstream import Pool

JSON = b"content-type: application/json\r\n"
EVENTS = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"

logger = logging.getLogger(__name__)


class Exchanges:
    """What every exchange needs, and those that are going on."""

    def __init__(self, pool: Pool, ledger: Ledger, shadows: Shadows, permits: Permits) -> None:
        self.pool = pool
        self.ledger = ledger
        self.shadows = shadows
        self.permits = permits
        self.going_on: set[Exchange] = set()
        permits.kills.on_change.append(self.enforce_kills)

    def begin(self, call: Call, reply: Reply) -> None:
        """Answer a call. Returns at its first wait. Raises: Refusal for what is not the key's to do, or stopped."""
        self.permits.check(call)
        Exchange(self, call, reply).begin()

    def enforce_kills(self) -> None:
        """End what is going on and may not any more."""
        for exchange in list(self.going_on):
            exchange.end_if_killed()
        self.shadows.enforce_kills(self.permits.kills)


class Exchange:
    """A client that leaves cancels the engine's work, and is recorded with status 499."""

    __slots__ = (
        "_admission",
        "_answered",
        "_attempts",
        "_call",
        "_flow",
        "_killed",
        "_of",
        "_permit",
        "_reply",
    )

    def __init__(self, of: Exchanges, call: Call, reply: Reply) -> None:
        self._of = of
        self._call = call
        self._reply = reply
        self._attempts = Attempts(call, of.pool, of.ledger)
        self._permit: Permit | None = None
        self._admission: Admission | None = None
        self._killed: Refusal | None = None
        self._answered = False
        self._flow = Flow(self._run())

    def begin(self) -> None:
        """Run up to the first wait."""
        self._reply.on_gone = self._leave
        self._of.going_on.add(self)
        self._flow.step()

    def end_if_killed(self) -> None:
        """Break off where the key, the tenant or the service is stopped by now."""
        call = self._call
        refusal = self._of.permits.kills.refusal(call.key, call.tenant, call.route.service.name)
        if refusal is not None and not self._answered:
            self._killed = refusal
            self._flow.cancel()

    def _leave(self) -> None:
        if not self._answered:
            self._flow.cancel()

    async def _run(self) -> None:
        in_flight, name = self._of.ledger.metrics.in_flight, self._call.route.service.name
        in_flight[name] += 1
        try:
            await self._answer()
        except Refusal as refusal:
            self._refuse(refusal)
        except asyncio.CancelledError:
            self._break_off()
        except Exception:
            logger.exception("a request to %s failed inside the gateway", name)
            self._fail()
        finally:
            self._attempts.abandon()
            if self._permit is not None:
                self._permit.settle()
            if self._admission is not None:
                self._admission.leave()
            in_flight[name] -= 1
            self._of.going_on.discard(self)

    async def _answer(self) -> None:
        call = self._call
        route = call.route
        choice = route.chooser.choose(call, monotonic())
        if route.service.preference is not None and choice.reason.startswith("escalated"):
            self._of.ledger.metrics.escalations[route.service.name, choice.reason] += 1
        await self._get_permit(choice)
        if route.guards is not None and route.guards.check_request(call.said.fields):
            call.said.cover()
        caching = Caching.of(call, choice)
        if caching is not None:
            hit = await caching.look()
            if hit is not None and self._deliver_hit(choice, hit):
                return
        try:
            if route.chooser.admission is not None:
                await self._stand_in_line(route.chooser.admission)
            attempt = await self._attempts.find(choice)
            await self._deliver(attempt, caching)
        except asyncio.CancelledError:
            if caching is not None:
                caching.land(left=True)
            raise
        finally:
            if caching is not None:
                caching.land()
        if attempt.status == 200:
            self._of.shadows.launch(call, attempt)

    async def _get_permit(self, choice: Choice) -> None:
        call, permits = self._call, self._of.permits
        subjects = permits.subjects_of(call)
        if not permits.wants_numbers(call, subjects):
            return
        target = cast(Target, choice.candidate.target)
        said, price = call.said, target.dearest
        prompt, output = target.prompt_tokens(target.prompt_chars(said)), target.max_output_tokens(said)
        cost = tokens_cost(prompt, price.input_nanousd) + tokens_cost(output, price.output_nanousd)
        if permits.shared is None:
            self._permit = permits.take(call, subjects, prompt + output, cost)
        else:
            self._permit = await permits.take_shared(call, subjects, prompt + output, cost)
        self._attempts.permit = self._permit

    async def _stand_in_line(self, admission: Admission) -> None:
        call = self._call
        waiter = admission.enter(call.owner.priority, call.tenant, call.deadline_s)
        if waiter is not None:
            try:
                await waiter.future
            except BaseException:
                waiter.give_up()
                raise
            call.queued_s = monotonic() - waiter.since_s
        self._admission = admission

    async def _deliver(self, attempt: Attempt, caching: Caching | None) -> None:
        attempt.settle_overhead()
        self._of.ledger.metrics.overhead_first_us.observe(attempt.overhead_us)
        reply = self._reply
        headers = self._head_of(attempt)
        if attempt.streaming:
            reply.on_pause, reply.on_resume = attempt.pause, attempt.resume
            reply.start(200, headers + EVENTS)
            if reply.paused:
                # By the answer before this one on the client's connection.
                attempt.pause()
            write = reply.write if caching is None else caching.tee(reply.write)
            await attempt.pass_on(write)
            self._enter(attempt)
            if attempt.num_reads:
                per_read_us = attempt.busy_s * 1e6 / attempt.num_reads
                self._of.ledger.metrics.overhead_read_us.observe(per_read_us, attempt.num_reads)
            self._answered = True
            reply.finish(attempt.tail)
        else:
            self._enter(attempt)
            self._answered = True
            reply.send(attempt.status, headers + JSON, attempt.body)
        if caching is not None:
            caching.keep(attempt)

    def _deliver_hit(self, choice: Choice, hit: Hit) -> bool:
        """Answer from the cache. False where what was kept cannot be given in this form."""
        call, reply = self._call, self._reply
        try:
            entry, body = answer_from(hit, call, choice)
        except Unusable:
            return False
        self._of.ledger.enter_entry(entry, choice.variant.ref)
        self._answered = True
        head = b"%b%bx-modelyard-role: %b\r\nx-modelyard-cache: %b\r\nx-modelyard-overhead-us: %d\r\nage: %d\r\n%b" % (
            id_lines(call.said.kind, call.request_id),
            cast(Target, choice.candidate.target).release_header,
            choice.role.encode(),
            hit.kind.encode(),
            entry.overhead_us,
            hit.age_s,
            self._permit.headers() if self._permit is not None else b"",
        )
        reply.send(200, head + (EVENTS if call.stream else JSON), body)
        return True

    def _head_of(self, attempt: Attempt) -> bytes:
        return b"%b%b%bx-modelyard-role: %b\r\nx-modelyard-overhead-us: %d\r\n%b" % (
            attempt.headers,
            id_lines(self._call.said.kind, self._call.request_id),
            attempt.target.release_header,
            attempt.role.encode(),
            attempt.overhead_us,
            self._permit.headers() if self._permit is not None else b"",
        )

    def _enter(self, attempt: Attempt) -> None:
        """Write the record and settle, in one step."""
        entry = self._of.ledger.enter(attempt)
        attempts = self._attempts
        tokens, cost_nanousd = attempts.enter_unsure(attempt) if attempts.unsure else (0, 0)
        if self._permit is not None:
            _note_prompt(attempt)
            self._permit.settle(
                tokens + entry.prompt_tokens + entry.completion_tokens, cost_nanousd + entry.cost_nanousd
            )

    def _break_off(self) -> None:
        """The client left, the gateway stops, or the kill switch was thrown."""
        killed, attempt = self._killed, self._attempts.current
        if killed is None and not self._reply.broken_off:
            self._of.ledger.metrics.gone[self._call.route.service.name,] += 1
        if attempt is not None and not self._answered:
            if killed is not None:
                attempt.stop(killed.status, killed.code)
            else:
                attempt.stop(CLIENT_GONE, "gateway_stopped" if self._reply.broken_off else "client_gone")
            self._enter(attempt)
        elif attempt is None and killed is None:
            # No engine was asked, so there is no interaction: it is counted as what is refused is.
            self._of.ledger.metrics.refused[CLIENT_GONE, "client_gone"] += 1
        if killed is not None:
            self._refuse(killed)

    def _fail(self) -> None:
        """A mistake of ours: it is told, or the answer broken off, and the caller never left to wait."""
        if self._reply.started:
            self._answered = True
            self._reply.abort()
        else:
            self._refuse(broken())

    def _refuse(self, refusal: Refusal) -> None:
        self._answered = True
        call, reply = self._call, self._reply
        self._of.ledger.metrics.refuse(refusal)
        if reply.started and self._attempts.current is not None:
            reply.finish(self._attempts.current.reader.fail(refused(refusal)))
            return
        kind = call.said.kind
        body = error_body(kind, refusal.status, refusal.code, refusal.seen, refusal.param, request_id=call.request_id)
        lines = b"".join(b"%b: %b\r\n" % header for header in refusal.headers)
        reply.send(refusal.status, b"%b%b%b" % (lines, id_lines(kind, call.request_id), JSON), body)


def _note_prompt(attempt: Attempt) -> None:
    """Learn from an answer how many letters a token has."""
    reader = attempt.reader
    if isinstance(reader, Answer) and reader.counted and attempt.status == 200:
        attempt.target.learn(attempt.target.prompt_chars(attempt.call.said), reader.prompt_tokens)
