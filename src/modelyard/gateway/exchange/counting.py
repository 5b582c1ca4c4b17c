"""Counting: how many tokens a Messages prompt has, asked of the engine that would answer it."""

import asyncio
from time import monotonic
from typing import cast

from modelyard.gateway.dialects.dialect import error_body, id_lines
from modelyard.gateway.dialects.messages.counting import counted
from modelyard.gateway.errors import Refusal, UpstreamFailed, malformed
from modelyard.gateway.exchange.call import Call
from modelyard.gateway.exchange.permits import Permit, Permits
from modelyard.gateway.exchange.target import Address, Counter, Target
from modelyard.gateway.flow import Flow
from modelyard.gateway.http import Reply
from modelyard.gateway.routing.choice import Choice
from modelyard.gateway.upstream import Pool

_JSON = b"content-type: application/json\r\n"
_MAX_BYTES = 4 << 20
_WAYS_MISSING = (404, 405, 501)
_CALLERS = (400, 413, 422, 429)


class Counting:
    """Counts for callers. It uses no tokens and leaves no record; it counts against requests per minute."""

    def __init__(self, pool: Pool, permits: Permits) -> None:
        self._pool = pool
        self._permits = permits

    def begin(self, call: Call, reply: Reply) -> None:
        """Answer a call. Returns at its first wait. Raises: Refusal for what is not the key's to do, or stopped."""
        self._permits.check(call)
        # An agent that counts its prompt before it sends it does not go in circles.
        call.session = call.trace_id = ""
        flow = Flow(self._run(call, reply))
        reply.on_gone = flow.cancel
        flow.step()

    async def _run(self, call: Call, reply: Reply) -> None:
        permit: Permit | None = None
        try:
            permit = await self._get_permit(call)
            guards = call.route.guards
            if guards is not None and guards.check_request(call.said.fields):
                call.said.cover()
            status, body, lines = 200, await self._ask(call, call.route.chooser.choose(call, monotonic())), b""
        except (Refusal, UpstreamFailed) as error:
            status, lines = error.status, b""
            if isinstance(error, Refusal):
                lines = b"".join(b"%b: %b\r\n" % header for header in error.headers)
            body = error_body("messages", status, error.code, error.seen, request_id=call.request_id)
        except asyncio.CancelledError:
            return
        finally:
            if permit is not None:
                permit.settle()
        reply.send(status, b"%b%b%b" % (lines, id_lines("messages", call.request_id), _JSON), body)

    async def _get_permit(self, call: Call) -> Permit | None:
        permits = self._permits
        subjects = permits.subjects_of(call)
        if not subjects:
            return None
        if permits.shared is None:
            return permits.take(call, subjects, 0, 0)
        return await permits.take_shared(call, subjects, 0, 0)

    async def _ask(self, call: Call, choice: Choice) -> bytes:
        target = cast(Target, choice.candidate.target)
        question = target.compose_count(call.said)
        if question is None:
            raise _cannot(call)
        replicas, now_s = choice.candidate.replicas, monotonic()
        replica = replicas.pick(call.affinity(), now_s)
        if replica is None:
            raise replicas.refusal(now_s)
        status = 499
        try:
            status, body = await self._send(call, cast(Address | None, replica.target), question)
        except UpstreamFailed as failure:
            status = failure.status
            raise
        finally:
            replicas.finish(replica, status, started_s=now_s, now_s=monotonic())
        if status in _WAYS_MISSING:
            raise _cannot(call)
        if status != 200:
            message = f"The engine behind this service answered with status {status}."
            raise UpstreamFailed(status if status in _CALLERS else 502, f"upstream_{status}", message)
        return body if question[0] == "count_tokens" else counted(body)

    async def _send(self, call: Call, address: Address | None, question: tuple[Counter, bytes]) -> tuple[int, bytes]:
        if address is None:
            raise UpstreamFailed(503, "credential_missing", "The model behind this service is not set up.")
        way, body = question
        head = b"%bx-request-id: %b\r\n" % (address.heads[way], call.request_id.encode())
        connection = await self._pool.send(address.line, head, body, call.route.service.timeouts)
        pieces, size = [], 0
        try:
            while piece := await connection.next_piece():
                pieces.append(piece)
                size += len(piece)
                if size > _MAX_BYTES:
                    raise malformed()
        except BaseException:
            connection.abort()
            raise
        connection.release()
        return connection.status, b"".join(pieces)


def _cannot(call: Call) -> Refusal:
    message = f"The engine behind '{call.route.service.name}' cannot count tokens. Ask a model of another engine."
    return Refusal(501, "cannot_count", message)
