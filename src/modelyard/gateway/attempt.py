"""One attempt: one request sent to one variant, with its answer, its outcome and its record.

A client's request makes one attempt, or two where a challenger failed and the champion answers instead; a shadow is an
attempt that no one waits for.
"""

from collections.abc import AsyncIterator
from time import monotonic

import msgspec

from modelyard.core.clock import now_ms
from modelyard.core.digests import digest_bytes, digest_text
from modelyard.core.ids import new_id
from modelyard.core.money import tokens_cost
from modelyard.gateway.answer import Answer, Stream
from modelyard.gateway.call import Call
from modelyard.gateway.errors import UpstreamFailed, broken, cut, error_body, malformed
from modelyard.gateway.table import Target
from modelyard.gateway.upstream import Connection, Pool
from modelyard.ports.interaction import Interaction
from modelyard.ports.routes import Role

CLIENT_GONE = 499
_MAX_ANSWER_BYTES = 32 << 20
_PASSED_HEADERS = (b"retry-after",)


# What an engine says of its relation to the gateway (no such model, no such key), not of the caller's request: a caller
# who is told "no such model" would not try again, and would learn the engine's names.
_BETWEEN_US = (401, 403, 404)


class Attempt:
    """What one variant makes of a call. After `open` either `streaming` is set or `body` holds the whole answer.

    `started_s` is the monotonic moment its latencies count from, `waited_s` the seconds spent waiting for engines.
    `tail` is what a stream ends with, to be sent after the record is written.
    """

    def __init__(
        self, pool: Pool, call: Call, role: Role, target: Target, propensity: float, *, shadow_of: str = ""
    ) -> None:
        self.id = new_id()
        self.call = call
        self.role = role
        self.target = target
        self.propensity = propensity
        self.rollout_id = call.route.service.rollout_id
        self.shadow_of = shadow_of
        self.at_ms = now_ms()
        self.started_s = monotonic() if shadow_of else call.started_s
        self.waited_s = 0.0
        self.first_token_s = 0.0
        self.overhead_us = 0
        self.status = 200
        self.error = ""
        self.body = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.streaming = False
        self.tail = b""
        self.answer = Answer(self.id, call.route.name, show_usage=call.wants_usage)
        self._pool = pool
        self._stream = Stream(self.answer)
        self._first = b""
        self._connection: Connection | None = None

    async def open(self) -> None:
        """Send the request and read a whole answer, or a stream up to its first event.

        A failure ends up in `status`, `error` and an error `body`; only a cancellation is raised.
        """
        body = self.call.body_for(self.target)
        head = self.target.heads[self.call.kind] + b"x-request-id: " + self.call.request_id.encode() + b"\r\n"
        began_s = monotonic()
        try:
            self._connection = await self._pool.send(self.target.origin, head, body)
            if self._is_stream(self._connection):
                await self._read_first(self._connection)
            else:
                await self._read_whole(self._connection)
        except UpstreamFailed as failure:
            self._fail(failure)
            self.body = error_body(failure.status, failure.code, failure.seen)
        except BaseException:
            self.abandon()
            raise
        finally:
            self.waited_s += monotonic() - began_s

    async def pieces(self) -> AsyncIterator[bytes]:
        """A stream's bytes for the caller, all but its `tail`."""
        connection = self._connection
        if connection is None:
            return
        try:
            if self._first:
                yield self._first
            while not self._stream.done and (data := await connection.next_chunk(self._pool.limits.chunk_s)):
                if out := self._feed(data):
                    yield out
            self._end_stream(connection)
        except UpstreamFailed as failure:
            self._fail(failure)
            self.tail = b"data: " + error_body(failure.status, failure.code, failure.seen) + b"\n\n"

    def abandon(self) -> None:
        """Break the connection off, so that the engine stops."""
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    def settle_overhead(self) -> None:
        """Fix the overhead: the microseconds up to now that were not spent waiting for engines."""
        self.overhead_us = max(0, round((monotonic() - self.started_s - self.waited_s) * 1e6))

    def record(self) -> Interaction:
        """The interaction as the journal keeps it."""
        call, answer, variant = self.call, self.answer, self.target.variant
        price, policy = variant.price, call.route.service.body_policy
        return Interaction(
            id=self.id,
            at_ms=self.at_ms,
            service=call.route.service.name,
            tenant=call.key.tenant,
            key_id=call.key.id,
            unit=call.unit_digest,
            release=variant.release,
            role=self.role,
            propensity=self.propensity,
            table_version=call.table_version,
            rollout_id=self.rollout_id,
            shadow_of=self.shadow_of,
            stream=call.stream,
            status=self.status,
            error=self.error,
            finish_reason=answer.finish_reason,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            cost_nanousd=tokens_cost(answer.prompt_tokens, price.input_nanousd)
            + tokens_cost(answer.completion_tokens, price.output_nanousd),
            first_token_ms=round(self.first_token_s * 1000, 3),
            latency_ms=round((monotonic() - self.started_s) * 1000, 3),
            overhead_us=self.overhead_us,
            request_hash=digest_bytes(call.body) if policy != "none" else "",
            answer_hash=digest_text(answer.text.strip()) if policy != "none" and self.status == 200 else "",
            request=call.body.decode() if policy == "full" else "",
            answer=answer.text if policy == "full" else "",
        )

    def _is_stream(self, connection: Connection) -> bool:
        kind = connection.headers.get(b"content-type", b"")
        return self.call.stream and connection.status == 200 and kind.startswith(b"text/event-stream")

    async def _read_first(self, connection: Connection) -> None:
        """Hold the head of the answer back until the engine has said something: until then it can still be replaced."""
        while not self._first and not self._stream.done:
            data = await connection.next_chunk(self._pool.limits.first_byte_s)
            if not data:
                raise cut()
            self._first = self._feed(data)
        if self.answer.fault:
            raise broken(self.answer.fault)
        self.streaming = True

    def _feed(self, data: bytes) -> bytes:
        out = self._stream.feed(data)
        if not self.first_token_s and self.answer.spoke:
            self.first_token_s = monotonic() - self.started_s
        return out

    def _end_stream(self, connection: Connection) -> None:
        if not (self._stream.done or self.answer.finish_reason or self.answer.fault):
            raise cut()
        self.tail = self._stream.done
        if self.answer.fault:
            self.status, self.error = 502, self.answer.fault
        self._release(connection)

    async def _read_whole(self, connection: Connection) -> None:
        pieces, size = [], 0
        while data := await connection.next_chunk(self._pool.limits.chunk_s):
            pieces.append(data)
            size += len(data)
            if size > _MAX_ANSWER_BYTES:
                raise malformed()
        body = b"".join(pieces)
        self._release(connection)
        if connection.status == 200:
            self.body = self.answer.rewrite(body)
        else:
            self._take_error(connection, body)

    def _take_error(self, connection: Connection, body: bytes) -> None:
        """Pass an engine's error on where it has OpenAI's shape, and say no more than its status where it has not."""
        if connection.status < 400:
            raise malformed()
        self.status = connection.status
        self.error = f"upstream_{connection.status}"
        if self.status in _BETWEEN_US:
            self.status, self.headers = 503, [(b"retry-after", b"1")]
            message = "The engine behind this service does not serve its model at the moment. Try again."
            self.body = error_body(self.status, self.error, message)
            return
        self.headers = [(n, connection.headers[n]) for n in _PASSED_HEADERS if n in connection.headers]
        if not _has_error(body):
            message = f"The engine behind this service answered with status {self.status}."
            body = error_body(self.status, self.error, message)
        self.body = body

    def _release(self, connection: Connection) -> None:
        self._connection = None
        connection.release()

    def _fail(self, failure: UpstreamFailed) -> None:
        self.abandon()
        self.status, self.error = failure.status, failure.code


def _has_error(body: bytes) -> bool:
    try:
        return "error" in msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
