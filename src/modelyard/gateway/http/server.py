"""The server: it listens, keeps its connections to their limits, and ends well."""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from time import monotonic
from typing import Any, cast

import msgspec

from modelyard.gateway.http.connection import Connection
from modelyard.gateway.http.cors import Cors
from modelyard.gateway.http.message import Handler
from modelyard.gateway.http.reply import Preludes
from modelyard.gateway.http.tls import Tls

_ABORT_S = 1.0
_BACKLOG = 2048

logger = logging.getLogger(__name__)


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the server.

    A head is to be there within `head_s`; a body to bring `min_body_bytes_s` bytes a second in every `body_s` seconds;
    a client that reads nothing is left after `write_s`, one that asks nothing after `idle_s`, one that was refused
    while it was sending after `linger_s`. They are looked at every `sweep_s`. At SIGTERM
    requests may finish in `drain_s`.
    """

    max_head_bytes: int = 32 << 10
    max_headers: int = 100
    max_body_bytes: int = 10 << 20
    max_connections: int = 20_000
    head_s: float = 20.0
    body_s: float = 20.0
    min_body_bytes_s: float = 100.0
    write_s: float = 60.0
    idle_s: float = 75.0
    linger_s: float = 2.0
    drain_s: float = 30.0
    sweep_s: float = 1.0


_DEFAULTS = HttpSettings()


class Server:
    """Serves one handler on the loop that runs when it is made."""

    def __init__(
        self,
        handler: Handler,
        settings: HttpSettings = _DEFAULTS,
        *,
        tls: Tls | None = None,
        cors: Cors | None = None,
    ) -> None:
        self.handler = handler
        self.settings = settings
        self.cors = cors
        self.loop = asyncio.get_running_loop()
        self.connections: set[Connection] = set()
        self.preludes = Preludes()
        self.now_s = monotonic()
        self._tls = tls
        self._listeners: list[asyncio.Server] = []
        self._timer: asyncio.TimerHandle | None = None
        self.is_breaking_off = False
        self._stopping = asyncio.Event()
        self._forced = asyncio.Event()
        self._empty = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """Whether there are more connections than allowed."""
        return len(self.connections) > self.settings.max_connections

    async def serve(self, sockets: Sequence[socket.socket]) -> None:
        """Serve until `stop`, SIGTERM or SIGINT; then let requests finish. A second signal ends at once."""
        self._catch_signals()
        await self.start(sockets)
        await self._stopping.wait()
        await self.drain()

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Listen."""
        context = self._tls.context if self._tls else None
        timeouts: dict[str, Any] = {"ssl_handshake_timeout": self.settings.head_s} if context else {}
        make = cast("Callable[[], asyncio.Protocol]", lambda: Connection(self))
        for listener in sockets:
            made = await self.loop.create_server(make, sock=listener, backlog=_BACKLOG, ssl=context, **timeouts)
            self._listeners.append(made)
        self._sweep()

    def stop(self) -> None:
        """Ask `serve` to end well; the second time, at once."""
        if self._stopping.is_set():
            self._forced.set()
        self._stopping.set()

    async def drain(self) -> None:
        """Accept no more, answer what is in flight with `connection: close`, and close what is left after `drain_s`."""
        for listener in self._listeners:
            listener.close()
        for connection in list(self.connections):
            connection.drain()
        await self._wait_until_empty(self.settings.drain_s)
        if self.connections:
            logger.warning("%d connections were closed before their answers were out", len(self.connections))
            self._forced.clear()
            self.is_breaking_off = True
            for connection in list(self.connections):
                connection.transport.abort()
            # The transports tell of their end in the loop's next turns.
            await self._wait_until_empty(_ABORT_S)
        if self._timer is not None:
            self._timer.cancel()

    async def _wait_until_empty(self, limit_s: float) -> None:
        """Until there is no connection, the time is over or `stop` was called a second time."""
        if not self.connections:
            return
        self._empty.clear()
        waits = [asyncio.ensure_future(event.wait()) for event in (self._empty, self._forced)]
        await asyncio.wait(waits, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    def forget(self, connection: Connection) -> None:
        """A connection that is closed."""
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    def _sweep(self) -> None:
        self.now_s = now_s = monotonic()
        self._timer = self.loop.call_later(self.settings.sweep_s, self._sweep)
        self.preludes.clear()
        if self._tls is not None:
            self._tls.refresh()
        for connection in list(self.connections):
            connection.sweep(now_s)

    def _catch_signals(self) -> None:
        for name in (signal.SIGTERM, signal.SIGINT):
            try:
                self.loop.add_signal_handler(name, self.stop)
            except (NotImplementedError, RuntimeError, ValueError):
                # Windows, or a thread that is not the main one: `stop` is called by whoever runs us.
                return


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine to its end on the fastest loop there is."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if sys.platform != "win32":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
