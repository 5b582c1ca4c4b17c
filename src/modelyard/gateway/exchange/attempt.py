"""One attempt: one request sent to one replica of one variant, with its answer, its outcome and its record.

A client's request makes one attempt, or several where one failed before its first byte and another took over; a shadow
is an attempt that no one waits for.
"""

from collections.abc import Callable
from math import inf
from time import monotonic
from typing import cast

from modelyard.core.clock import now_ms
from modelyard.core.ids import new_id
from modelyard.gateway.dialects.dialect import engine_error, error_body, reader_for
from modelyard.gateway.dialects.reader import Reader
from modelyard.gateway.errors import Refusal, UpstreamFailed, broken, cut, late, malformed
from modelyard.gateway.exchange.call import Call
from modelyard.gateway.exchange.confidence import Probe
from modelyard.gateway.exchange.stream import Stream
from modelyard.gateway.exchange.target import Address, Target
from modelyard.gateway.routing.choice import Choice
from modelyard.gateway.routing.replicas import Replica
from modelyard.gateway.upstream import Connection, Pool
from modelyard.ports.routes import Role

CLIENT_GONE = 499
_MAX_ANSWER_BYTES = 32 << 20
_PASSED_HEADERS = (b"retry-after",)

# What an engine says of its relation to the gateway (no such model, no such key), not of the caller's request: a caller
# who is told "no such model" would not try again, and would learn the engine's names.
_BETWEEN_US = (401, 403, 404)

Write = Callable[[bytes], None]


def _to_nobody(data: bytes) -> None:
    """A shadow's pieces."""


class Attempt:
    """What one replica makes of a call. After `open` either `streaming` is set or `body` holds the whole answer.

    `probe` is there where an answer that its engine was not sure of is asked for again.
    `started_s` is the monotonic moment its latencies count from, `waited_s` the seconds spent waiting for engines,
    `busy_s` those spent on a stream's `num_reads` reads. `tail` is what a stream ends with, sent after its record is
    written.
    """

    __slots__ = (
        "_address",
        "_connection",
        "_failure",
        "_first",
        "_is_held",
        "_picked_s",
        "_pool",
        "_reported",
        "_retry_after_s",
        "_write",
        "at_ms",
        "body",
        "busy_s",
        "call",
        "choice",
        "error",
        "first_token_s",
        "headers",
        "id",
        "is_native",
        "num_reads",
        "overhead_us",
        "probe",
        "reader",
        "reason",
        "replica",
        "role",
        "shadow_of",
        "started_s",
        "status",
        "streaming",
        "tail",
        "target",
        "waited_s",
    )

    def __init__(
        self, pool: Pool, call: Call, choice: Choice, replica: Replica, now_s: float, *, shadow_of: str = ""
    ) -> None:
        self.id = call.request_id if call.owns_id and call.num_attempts == 0 else new_id()
        call.num_attempts += 1
        self.call = call
        self.choice = choice
        self.replica = replica
        self.role: Role = "shadow" if shadow_of else choice.role
        self.reason = choice.reason
        self.target = target = cast(Target, choice.candidate.target)
        self.shadow_of = shadow_of
        self.at_ms = now_ms()
        self.started_s = now_s if shadow_of else call.started_s
        self.waited_s = self.busy_s = self.first_token_s = 0.0
        self.overhead_us = self.num_reads = 0
        self.status = 200
        self.error = ""
        self.body = b""
        self.headers = b""
        self.streaming = False
        self.tail = b""
        self.is_native = target.is_native(call.said.kind)
        self.reader = self._make_reader()
        self._pool = pool
        self._address = cast(Address | None, replica.target)
        self._picked_s = now_s
        self._reported = self._is_held = False
        self._retry_after_s = 0.0
        self._first = b""
        self.probe: Probe | None = None
        self._write: Write = _to_nobody
        self._connection: Connection | None = None
        self._failure: UpstreamFailed | None = None

    @property
    def rollout_id(self) -> str:
        """The rollout that the answer counts for."""
        service = self.call.route.service
        return service.rollout_id if self.choice.in_rollout or self.shadow_of else ""

    async def open(self) -> None:
        """Send the request and read a whole answer, or a stream up to its first piece.

        A failure ends up in `status`, `error` and an error `body`. Raises: Refusal for what the engine cannot be told.
        """
        call = self.call
        began_s = monotonic()
        try:
            if self._address is None:
                raise UpstreamFailed(503, "credential_missing", "The model behind this service is not set up.")
            kind, body = self.target.compose(call.said, self.probe)
            head = b"%bx-request-id: %b\r\n" % (self._address.heads[kind], call.request_id.encode())
            until_s = inf if self.shadow_of else call.deadline_s
            connection = await self._pool.send(self._address.line, head, body, call.route.service.timeouts, until_s)
            self._connection = connection
            if connection.status == 200 and connection.headers.get(b"content-encoding", b"identity") != b"identity":
                raise malformed()
            if call.stream and connection.status == 200 and _is_stream(connection):
                await self._read_first(connection)
            else:
                await self._read_whole(connection)
        except UpstreamFailed as failed:
            failure = self._fail(failed)
            self.body = self._error_body(failure.status, failure.code, failure.seen)
        except BaseException:
            # Whatever the reason, it says nothing of the engine.
            self.status = CLIENT_GONE
            self.abandon()
            raise
        finally:
            self.waited_s += monotonic() - began_s

    async def pass_on(self, write: Write = _to_nobody) -> None:
        """Hand a stream's pieces on as they come, all but its `tail`. Never raises but for a cancellation."""
        connection = self._connection
        if connection is None:
            return
        self._write = write
        try:
            if self._first:
                write(self._first)
            connection.pump = self._pump
            if connection.chunks:
                self._pump(connection.take(), monotonic())
                if self._is_held:
                    connection.pause()
            while not self._is_over(connection):
                await connection.news
            self._end_stream(connection)
        except UpstreamFailed as failed:
            self.tail = self.reader.fail(self._fail(failed))

    def pause(self) -> None:
        """The client is slower than the engine."""
        self._is_held = True
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """The client has caught up."""
        self._is_held = False
        if self._connection is not None:
            self._connection.resume()

    def abandon(self) -> None:
        """Break the connection off, so that the engine stops, and tell how it ended. More often does no harm."""
        if self._connection is not None:
            self._connection.abort()
            self._connection = None
        self.report()

    def report(self) -> None:
        """Take the outcome into the replica's health, once."""
        if not self._reported:
            self._reported = True
            self.choice.candidate.replicas.finish(
                self.replica,
                self.status,
                started_s=self._picked_s,
                now_s=monotonic(),
                first_token_s=self.first_token_s if self.streaming else 0.0,
                retry_after_s=self._retry_after_s,
            )

    def stop(self, status: int, code: str) -> None:
        """End it for a reason that is not the engine's."""
        if self._connection is not None:
            self._connection.abort()
            self._connection = None
        answered, self.status = self.status, CLIENT_GONE
        self.report()
        self.status, self.error = status, code
        if answered != 200:
            self.body = b""

    def settle_overhead(self) -> None:
        """Fix the overhead: the microseconds up to now that were not spent waiting for engines or in line."""
        waited_s = self.waited_s + self.call.queued_s
        self.overhead_us = max(0, round((monotonic() - self.started_s - waited_s) * 1e6))

    def usage(self) -> tuple[int, int]:
        """Tokens of prompt and answer; about as many where the engine did not tell."""
        reader = self.reader
        prompt, completion = reader.prompt_tokens, reader.completion_tokens
        if not (prompt or completion) and self.body and reader.spoke:
            completion = self.target.answer_tokens(reader.text)
        if (completion or self.streaming) and not prompt:
            prompt = self.target.prompt_tokens(self.target.prompt_chars(self.call.said))
        return prompt, completion

    def _make_reader(self) -> Reader | Stream:
        call = self.call
        said = call.said
        guards = call.route.guards
        guard = guards.answer() if guards is not None else None
        if said.kind in ("chat", "completions"):
            stream = Stream(self.id, call.route.name, show_usage=said.wants_usage, guard=guard)
            stream.counts_apart = said.n > 1 and self.target.counts_apart
            return stream
        return reader_for(
            said, self.id, call.route.name, is_native=self.is_native, request_id=call.request_id, guard=guard
        )

    def _error_body(self, status: int, code: str, message: str) -> bytes:
        return error_body(self.call.said.kind, status, code, message, request_id=self.call.request_id)

    async def _read_first(self, connection: Connection) -> None:
        """Hold the head of the answer back until the engine has said something: until then it can still be replaced."""
        reader = self.reader
        while not self._first and not reader.done:
            data = await connection.next_piece()
            if not data:
                raise cut()
            self._first = self._feed(data)
        if reader.refusal is not None:
            self._refuse(reader.refusal)
            return
        if reader.fault:
            raise broken(reader.fault)
        self.streaming = True
        self.choice.candidate.replicas.answering(self.replica, started_s=self._picked_s, now_s=monotonic())

    def _pump(self, data: bytes, now_s: float) -> bool:
        """Hand on what one read brought; whether the stream is over."""
        reader = self.reader
        if reader.done:
            return True
        try:
            if out := reader.feed(data) if self.first_token_s else self._feed(data):
                self._write(out)
        except UpstreamFailed as failure:
            self._failure = failure
            return True
        self.busy_s += monotonic() - now_s
        self.num_reads += 1
        return bool(reader.done)

    def _feed(self, data: bytes) -> bytes:
        reader = self.reader
        out = reader.feed(data)
        if not self.first_token_s and reader.spoke:
            self.first_token_s = monotonic() - self.started_s
        return out

    def _is_over(self, connection: Connection) -> bool:
        """Whether a stream came to its end. Raises: UpstreamFailed for a bad one."""
        if self._failure is not None:
            raise self._failure
        if self.reader.done or connection.complete:
            return True
        connection.check()
        return False

    def _end_stream(self, connection: Connection) -> None:
        self.tail = self.reader.end()
        if self.reader.refusal is not None:
            self._refuse(self.reader.refusal)
            return
        if self.reader.fault:
            self.status, self.error = 502, self.reader.fault
        self._connection = None
        connection.release()
        self.report()

    async def _read_whole(self, connection: Connection) -> None:
        pieces, size = [], 0
        while data := await connection.next_piece():
            pieces.append(data)
            size += len(data)
            if size > _MAX_ANSWER_BYTES:
                raise malformed()
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        status, headers = connection.status, connection.headers
        self._connection = None
        connection.release()
        if status != 200:
            self._take_error(status, headers, body)
        else:
            self._take_answer(body)
        self.report()

    def _take_answer(self, body: bytes) -> None:
        if self.call.stream:
            # A client of a stream would take a whole answer for an empty one.
            raise malformed()
        if self.probe is not None:
            body = self.probe.read(body)
        try:
            self.body = self.reader.rewrite(body)
        except Refusal as refusal:
            self._refuse(refusal)

    def _refuse(self, refusal: Refusal) -> None:
        """A filter does not let the answer out: the engine stops, and has not failed."""
        self.stop(refusal.status, refusal.code)
        self.body = self._error_body(refusal.status, refusal.code, refusal.seen)

    def _take_error(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        """Pass an engine's error on where it has the dialect's shape, and say no more than its status where not."""
        if status < 400:
            raise malformed()
        self.status = status
        self.error = f"upstream_{status}"
        if status in _BETWEEN_US:
            self.status, self.headers = 503, b"retry-after: 1\r\n"
            message = "The engine behind this service does not serve its model at the moment. Try again."
            self.body = self._error_body(self.status, self.error, message)
            return
        retry_after = headers.get(b"retry-after", b"")
        self._retry_after_s = float(retry_after) if retry_after.isdigit() else 0.0
        self.headers = b"".join(b"%b: %b\r\n" % (name, headers[name]) for name in _PASSED_HEADERS if name in headers)
        told = engine_error(
            self.call.said.kind, status, body, is_native=self.is_native, request_id=self.call.request_id
        )
        message = f"The engine behind this service answered with status {status}."
        self.body = told or self._error_body(status, self.error, message)

    def _fail(self, failure: UpstreamFailed) -> UpstreamFailed:
        """Take a failure in. Returns: what the caller is told."""
        is_late = failure.status == 504 and not self.shadow_of and self.call.is_late
        # The caller's own haste says nothing of the engine.
        self.status = CLIENT_GONE if is_late else failure.status
        self.abandon()
        told = late() if is_late else failure
        self.status, self.error = told.status, told.code
        return told


def _is_stream(connection: Connection) -> bool:
    return connection.headers.get(b"content-type", b"").lower().startswith(b"text/event-stream")
