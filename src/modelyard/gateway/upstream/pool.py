"""Pool: the connections to all engines, kept by address; the last one used is taken first.

A request is sent a second time without being asked in one case only: it went out on a pooled connection that was lost
before a single byte came back, which is what a server that has just closed an idle connection looks like.
"""

import asyncio
import ssl
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import cast

from modelyard.gateway.errors import UpstreamFailed, timed_out, unreachable
from modelyard.gateway.upstream.connection import Connection
from modelyard.gateway.upstream.origin import Origin
from modelyard.ports.serving import Timeouts

_MAX_IDLE = 256
_SWEEP_S = 0.1


class Line:
    """The connections to one engine. `in_flight` is how many of them carry a request."""

    __slots__ = ("_pool", "idle", "in_flight", "origin")

    def __init__(self, pool: "Pool", origin: Origin) -> None:
        self.origin = origin
        self.idle: list[Connection] = []
        self.in_flight = 0
        self._pool = pool

    def take(self) -> Connection | None:
        """An idle connection, None where there is none."""
        while self.idle:
            connection = self.idle.pop()
            # A transport whose other side has left is closing some time before `connection_lost` says so.
            if not connection.closed and not connection.transport.is_closing():
                return connection
        return None

    def put(self, connection: Connection) -> None:
        """Take an idle connection in."""
        self._pool.busy.discard(connection)
        if len(self.idle) < _MAX_IDLE:
            self.idle.append(connection)
        else:
            connection.abort()

    def watch(self, connection: Connection) -> None:
        """Its time limits run from now on."""
        self._pool.watch(connection)

    def forget(self, connection: Connection) -> None:
        """A connection that is closed is watched and offered no more."""
        self._pool.busy.discard(connection)
        if not connection.busy and connection in self.idle:
            self.idle.remove(connection)

    def close(self) -> None:
        """Close the idle connections."""
        while self.idle:
            self.idle.pop().abort()

    async def connect(self, limit_s: float) -> Connection:
        """A new connection. Raises: UpstreamFailed."""
        task = asyncio.get_running_loop().create_task(self._connect(limit_s))
        try:
            return await task
        except asyncio.CancelledError:
            # Nobody takes a connection that came in the very moment in which who asked left.
            task.add_done_callback(_close_unwanted)
            raise

    async def _connect(self, limit_s: float) -> Connection:
        origin = self.origin
        try:
            async with asyncio.timeout(limit_s):
                make = cast("Callable[[], asyncio.Protocol]", lambda: Connection(self))
                _, connection = await asyncio.get_running_loop().create_connection(
                    make, origin.host, origin.port, ssl=self._pool.context(origin)
                )
        except TimeoutError as error:
            raise timed_out("connection", limit_s) from error
        except (OSError, ValueError) as error:
            raise unreachable() from error
        return cast(Connection, connection)


class Pool:
    """The lines to all engines, and the one timer that watches every connection in use."""

    def __init__(self) -> None:
        self.num_retries = 0
        self.busy: set[Connection] = set()
        self._lines: dict[Origin, Line] = {}
        self._tls: ssl.SSLContext | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0

    def line(self, origin: Origin) -> Line:
        """The line to an engine, the same one for the same address."""
        line = self._lines.get(origin)
        if line is None:
            line = self._lines[origin] = Line(self, origin)
        return line

    async def send(self, line: Line, head: bytes, body: bytes, timeouts: Timeouts, until_s: float = inf) -> Connection:
        """Send a request and wait for the head of the answer, which may take up to the monotonic moment `until_s`.

        Raises: UpstreamFailed.
        """
        connection = line.take()
        if connection is not None:
            try:
                await _exchange(connection, head, body, timeouts, until_s)
                return connection
            except UpstreamFailed as failure:
                if connection.any_byte or failure.code != unreachable().code:
                    raise
                self.num_retries += 1
        connection = await line.connect(min(timeouts.connect_s, until_s - monotonic()))
        if connection.closed:
            # It was lost before who asked for it heard that it was there.
            raise unreachable()
        await _exchange(connection, head, body, timeouts, until_s)
        return connection

    def watch(self, connection: Connection) -> None:
        """Its time limits run until it is idle or closed."""
        self.busy.add(connection)
        self._due_s = min(self._due_s, connection.earliest_s(monotonic()))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)

    def keep(self, origins: set[Origin]) -> None:
        """Close the idle connections to all other engines, and forget those."""
        for origin in self._lines.keys() - origins:
            self._lines[origin].close()
            if not any(connection.line is self._lines[origin] for connection in self.busy):
                del self._lines[origin]

    def close(self) -> None:
        """Close every idle connection."""
        self.keep(set())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def context(self, origin: Origin) -> ssl.SSLContext | None:
        """What TLS is spoken with, None for none."""
        if origin.tls and self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls if origin.tls else None

    def _sweep(self) -> None:
        now_s = monotonic()
        if now_s >= self._due_s:
            for connection in list(self.busy):
                connection.check_deadline(now_s)
            self._due_s = min((connection.earliest_s(now_s) for connection in self.busy), default=now_s)
        self._timer = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep) if self.busy else None


def _close_unwanted(task: "asyncio.Task[Connection]") -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().abort()


async def _exchange(connection: Connection, head: bytes, body: bytes, timeouts: Timeouts, until_s: float) -> None:
    connection.start(head, body, timeouts, until_s)
    try:
        while not connection.head_done:
            connection.check()
            await connection.news
    except BaseException:
        connection.abort()
        raise
