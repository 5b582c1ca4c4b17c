"""A pooled HTTP/1.1 client for engines, on httptools. Knows nothing of models: bytes out, a head and bytes back.

Time limits: to connect, to the head of the answer, and between two pieces of its body. A request is sent a second time
in one case only: it went out on a pooled connection that was lost before a single byte came back, which is what a
server that has just closed an idle connection looks like.
"""

import asyncio
import ssl
from typing import cast
from urllib.parse import urlsplit

import httptools
import msgspec

from modelyard.core.errors import InvalidInput
from modelyard.gateway.errors import UpstreamFailed, cut, malformed, timed_out, unreachable

_HIGH_WATER_BYTES = 1 << 18
_MAX_HEAD_BYTES = 1 << 16
_MAX_IDLE = 128
_LINGER_S = 2.0


class Origin(msgspec.Struct, frozen=True):
    """Where an engine listens."""

    host: str
    port: int
    tls: bool

    @property
    def host_header(self) -> str:
        """As the Host header says it."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == (443 if self.tls else 80) else f"{name}:{self.port}"


def parse_origin(url: str) -> tuple[Origin, str]:
    """An engine's base URL as its origin and path prefix; a `/v1` at its end is left off. Raises: InvalidInput."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        parts, port = urlsplit(""), 0
    plain = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise InvalidInput(f"'{url}' is no engine URL", expected="something like http://127.0.0.1:8000")
    return Origin(parts.hostname, port, parts.scheme == "https"), parts.path.rstrip("/").removesuffix("/v1")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Time limits, in seconds."""

    connect_s: float = 5.0
    first_byte_s: float = 300.0
    chunk_s: float = 120.0


class Connection(asyncio.Protocol):
    """One connection to an engine, and the answer that is arriving on it."""

    transport: asyncio.Transport

    def __init__(self, pool: "Pool", origin: Origin) -> None:
        self.pool = pool
        self.origin = origin
        self.loop = asyncio.get_running_loop()
        self.parser = httptools.HttpResponseParser(self)
        self.busy = False
        self.closed = False
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._waits_for = ("", 0.0)
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.any_byte = False
        self.head_done = False
        self.complete = False
        self.failure: UpstreamFailed | None = None
        self._interim = False
        self._keep_alive = False
        self._until_close = False
        self._lingering = False
        self._head_size = 0
        self._chunks: list[bytes] = []
        self._size = 0
        self._paused = False

    # One exchange, as the pool and its user see it.

    def start(self, head: bytes, body: bytes) -> None:
        """Send a request."""
        self._reset()
        self.busy = True
        self.transport.write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))

    async def wait_head(self, limit_s: float) -> None:
        """Wait for the status and the headers. Raises: UpstreamFailed."""
        while not self.head_done:
            if self.failure:
                raise self.failure
            await self._wait("answer", limit_s)

    async def next_chunk(self, limit_s: float) -> bytes:
        """The bytes of the body that have arrived since, at least one; none at its end. Raises: UpstreamFailed."""
        while not self._chunks:
            if self.failure:
                raise self.failure
            if self.complete:
                return b""
            await self._wait("more of its answer", limit_s)
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        if self._paused:
            self._paused = False
            self.transport.resume_reading()
        return data

    def release(self) -> None:
        """Give the connection back, after the end of an answer or just before it."""
        self._cancel_timer()
        if self.complete and self._keep_alive and not self.closed:
            self.busy = False
            self.pool.put(self)
        elif self.complete or self.failure or self.closed:
            self.abort()
        else:
            self._lingering = True
            self._timer = self.loop.call_later(_LINGER_S, self.abort)

    def abort(self) -> None:
        """Close at once; an engine takes that as the caller's leaving."""
        self._cancel_timer()
        self.closed = True
        self.pool.forget(self)
        self.transport.abort()

    # Waiting, with one timer that is moved only when it fires.

    async def _wait(self, what: str, limit_s: float) -> None:
        self._waits_for = (what, limit_s)
        self._deadline = self.loop.time() + limit_s
        if self._timer is not None and self._timer.when() > self._deadline:
            self._cancel_timer()
        if self._timer is None:
            self._timer = self.loop.call_at(self._deadline, self._check_deadline)
        self._waiter = self.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _check_deadline(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if self.loop.time() < self._deadline:
            self._timer = self.loop.call_at(self._deadline, self._check_deadline)
        else:
            self._fail(timed_out(*self._waits_for))

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, failure: UpstreamFailed) -> None:
        if self.failure is None and not self.complete:
            self.failure = failure
        self._wake()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not self.busy or (self.complete and not self._lingering):
            self.abort()
            return
        self.any_byte = True
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(malformed())
            self.abort()
        if not self.head_done:
            self._head_size += len(data)
            if self._head_size > _MAX_HEAD_BYTES:
                self._fail(malformed())
                self.abort()

    def eof_received(self) -> bool:
        if self.head_done and self._until_close:
            self._finish()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._cancel_timer()
        self.pool.forget(self)
        self._fail(cut() if self.head_done else unreachable())

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()
        self._interim = self.status < 200
        if self._interim:
            self.headers = {}
            return
        self._keep_alive = self.parser.should_keep_alive()
        framed = b"content-length" in self.headers or b"chunked" in self.headers.get(b"transfer-encoding", b"").lower()
        self._until_close = not framed and self.status not in (204, 304)
        self.head_done = True
        self._wake()

    def on_body(self, body: bytes) -> None:
        if self._lingering:
            return
        self._chunks.append(body)
        self._size += len(body)
        if self._size > _HIGH_WATER_BYTES and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        if not self._interim:
            self._finish()

    def _finish(self) -> None:
        self.complete = True
        self._wake()
        if self._lingering:
            self.release()


class Pool:
    """The connections to all engines. Idle ones are kept per origin and the last one used is taken first."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.num_retries = 0
        self._idle: dict[Origin, list[Connection]] = {}
        self._tls: ssl.SSLContext | None = None

    async def send(self, origin: Origin, head: bytes, body: bytes) -> Connection:
        """Send a request and wait for the head of the answer. Raises: UpstreamFailed."""
        connection = self._take(origin)
        if connection is not None:
            try:
                return await self._exchange(connection, head, body)
            except UpstreamFailed as failure:
                if connection.any_byte or failure.code != unreachable().code:
                    raise
                self.num_retries += 1
        return await self._exchange(await self._connect(origin), head, body)

    def put(self, connection: Connection) -> None:
        """Take an idle connection in."""
        idle = self._idle.setdefault(connection.origin, [])
        if len(idle) < _MAX_IDLE:
            idle.append(connection)
        else:
            connection.abort()

    def forget(self, connection: Connection) -> None:
        """A connection that is closed is offered no more."""
        idle = self._idle.get(connection.origin)
        if idle and not connection.busy and connection in idle:
            idle.remove(connection)

    def keep(self, origins: set[Origin]) -> None:
        """Close the idle connections to all other engines."""
        for origin in self._idle.keys() - origins:
            for connection in self._idle.pop(origin):
                connection.abort()

    def close(self) -> None:
        """Close every idle connection."""
        self.keep(set())

    def _take(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if not connection.closed:
                return connection
        return None

    async def _exchange(self, connection: Connection, head: bytes, body: bytes) -> Connection:
        connection.start(head, body)
        try:
            await connection.wait_head(self.limits.first_byte_s)
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _connect(self, origin: Origin) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.limits.connect_s):
                _, connection = await loop.create_connection(
                    lambda: Connection(self, origin), origin.host, origin.port, ssl=self._context(origin)
                )
        except TimeoutError as error:
            raise timed_out("connection", self.limits.connect_s) from error
        except (OSError, ValueError) as error:
            raise unreachable() from error
        return connection

    def _context(self, origin: Origin) -> ssl.SSLContext | None:
        if origin.tls and self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls if origin.tls else None
