"""Connection: one connection to an engine, and the answer that is arriving on it.

Who waits is told once for each read, after the parser is done with it: several pieces that came together are one.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, cast

import httptools

from modelyard.gateway.errors import UpstreamFailed, cut, malformed, timed_out, unreachable
from modelyard.gateway.flow import Signal
from modelyard.ports.serving import Timeouts

if TYPE_CHECKING:
    from modelyard.gateway.upstream.pool import Line

_HIGH_WATER_BYTES = 1 << 18
_MAX_HEAD_BYTES = 1 << 16
_LINGER_S = 2.0

Pump = Callable[[bytes, float], bool]
"""Takes what one read brought, and the monotonic moment; says whether who waits is to be told."""


class Connection:
    """A protocol for asyncio's transports, which ask for no base class.

    `chunks` holds the body's pieces that nobody took yet, unless `pump` takes them as they come.

    `news` fires where there is something new: a head, pieces without a pump, the end, a failure.
    """

    __slots__ = (
        "_feed",
        "_head_size",
        "_interim",
        "_keep_alive",
        "_lingering",
        "_paused",
        "_size",
        "_until_close",
        "any_byte",
        "busy",
        "chunks",
        "closed",
        "complete",
        "deadline_s",
        "failure",
        "head_done",
        "headers",
        "line",
        "news",
        "parser",
        "pump",
        "status",
        "timeouts",
        "total_deadline_s",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, line: "Line") -> None:
        self.line = line
        self.parser = parser = httptools.HttpResponseParser(self)
        self._feed = parser.feed_data
        self.news = Signal()
        self.busy = False
        self.closed = False
        self._paused = False
        self.timeouts = Timeouts()
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.chunks: list[bytes] = []
        self.pump: Pump | None = None
        self.any_byte = False
        self.head_done = False
        self.complete = False
        self.failure: UpstreamFailed | None = None
        self._interim = False
        self._keep_alive = False
        self._until_close = False
        self._lingering = False
        self._head_size = 0
        self._size = 0

    # One exchange, as who asked sees it.

    def start(self, head: bytes, body: bytes, timeouts: Timeouts, until_s: float) -> None:
        """Send a request. `head` lacks its content-length and the empty line. `until_s`: as `Pool.send` says."""
        self._reset()
        self.busy = True
        self.timeouts = timeouts
        now_s = monotonic()
        self.deadline_s = now_s + timeouts.first_token_s
        self.total_deadline_s = min(now_s + timeouts.total_s, until_s)
        self.line.watch(self)
        self.transport.write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))

    def check(self) -> None:
        """Raises: UpstreamFailed where the exchange has failed."""
        if self.failure is not None:
            raise self.failure

    def take(self) -> bytes:
        """The pieces that have come and were not taken yet, as one."""
        chunks = self.chunks
        if not chunks:
            return b""
        self.chunks = []
        self._size = 0
        if self._paused:
            self.resume()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def next_piece(self) -> bytes:
        """The pieces that have come, at least one byte; none at the end of the body. Raises: UpstreamFailed."""
        while True:
            if data := self.take():
                return data
            if self.complete:
                return b""
            self.check()
            await self.news

    def pause(self) -> None:
        """Read no more for now: whoever the answer is for is slower than the engine. No time limit runs meanwhile."""
        if not self._paused and not self.closed:
            self._paused = True
            self.deadline_s = self.total_deadline_s
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._paused and not self.closed:
            self._paused = False
            self.deadline_s = monotonic() + self.timeouts.between_tokens_s
            self.transport.resume_reading()

    def release(self) -> None:
        """Give the connection back, after the end of an answer or just before it."""
        self.pump = None
        if self.complete and self._keep_alive and not self.closed and not self.transport.get_write_buffer_size():
            self.busy = False
            self.resume()
            self.line.put(self)
        elif self.complete or self.failure or self.closed:
            self.abort()
        else:
            self._lingering = True
            self.resume()
            self.deadline_s = monotonic() + _LINGER_S

    def abort(self) -> None:
        """Close at once; an engine takes that as the caller's leaving."""
        self.pump = None
        self.closed = True
        self.line.forget(self)
        self.transport.abort()

    def earliest_s(self, now_s: float) -> float:
        """No time limit runs out before this moment, whatever the engine sends meanwhile."""
        return min(self.deadline_s, self.total_deadline_s, now_s + min(_LINGER_S, self.timeouts.between_tokens_s))

    def check_deadline(self, now_s: float) -> None:
        """Fail where a time limit has run out. Called now and then, for all connections in use."""
        limits = self.timeouts
        if now_s < self.deadline_s and now_s < self.total_deadline_s:
            return
        if self._lingering:
            self.abort()
        elif now_s >= self.total_deadline_s:
            self._fail(timed_out("end of its answer", limits.total_s))
        elif self.head_done:
            self._fail(timed_out("more of its answer", limits.between_tokens_s))
        else:
            self._fail(timed_out("answer", limits.first_token_s))

    def _fail(self, failure: UpstreamFailed) -> None:
        if self.failure is None and not self.complete:
            self.failure = failure
        self.news.fire()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not self.busy or (self.complete and not self._lingering):
            self.abort()
            return
        self.any_byte = True
        had_head = self.head_done
        try:
            self._feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self.complete:
                self.abort()
                self._fail(malformed())
                return
            # Bytes beyond the answer must not become the next request's: the connection ends with this one.
            self._keep_alive = False
        if self._lingering:
            if self.complete:
                self.release()
            return
        if not had_head and not self._has_head(len(data)):
            return
        chunks = self.chunks
        if chunks:
            now_s = monotonic()
            self.deadline_s = now_s + self.timeouts.between_tokens_s
            if self.pump is not None:
                self.chunks = []
                piece = chunks[0] if len(chunks) == 1 else b"".join(chunks)
                if not self.pump(piece, now_s) and not self.complete:
                    return
            elif self._size > _HIGH_WATER_BYTES:
                self.pause()
        self.news.fire()

    def _has_head(self, num_bytes: int) -> bool:
        if not self.head_done:
            self._head_size += num_bytes
            if self._head_size > _MAX_HEAD_BYTES:
                self.abort()
                self._fail(malformed())
            return False
        return True

    def eof_received(self) -> bool:
        if self.head_done and self._until_close:
            self.complete = True
            self.news.fire()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self.line.forget(self)
        self._fail(cut() if self.head_done else unreachable())

    # httptools

    def on_message_begin(self) -> None:
        if self.complete:
            raise malformed()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        parser, headers = self.parser, self.headers
        self.status = status = parser.get_status_code()
        if status < 200:
            self._interim = True
            self.headers = {}
            return
        self._interim = False
        self._keep_alive = parser.should_keep_alive()
        framed = b"content-length" in headers or b"chunked" in headers.get(b"transfer-encoding", b"").lower()
        self._until_close = not framed and status not in (204, 304)
        self.head_done = True

    def on_body(self, body: bytes) -> None:
        if not self._lingering:
            self.chunks.append(body)
            self._size += len(body)

    def on_message_complete(self) -> None:
        if not self._interim:
            self.complete = True
