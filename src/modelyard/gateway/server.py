"""The gateway's process: `python -m modelyard.gateway.server --table FILE --journal FOLDER`.

It has its own small command line so that it never loads the large one. On SIGTERM it takes no new connections, lets
the requests in flight finish, writes the journal out and ends with code 0.
"""

import argparse
import logging
import os
import socket
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from modelyard.core.errors import InvalidInput, MissingExtra, ModelyardError
from modelyard.gateway import app
from modelyard.gateway.app import Gateway
from modelyard.gateway.guards.logs import configure_logging
from modelyard.gateway.http import Cors, HttpSettings, Server, Tls, bind_all, run, supervise
from modelyard.gateway.recording.snapshots import clear
from modelyard.gateway.settings import GatewaySettings
from modelyard.gateway.state import metrics_folder

_EXPOSED = (
    *("x-request-id", "x-modelyard-release", "x-modelyard-role", "x-modelyard-overhead-us", "x-modelyard-cache"),
    *(f"x-ratelimit-{what}-{of}" for of in ("requests", "tokens") for what in ("limit", "remaining", "reset")),
    *("retry-after", "age"),
)
_REDIS_SCHEMES = ("redis://", "rediss://", "unix://")

# See docs/gateway/benchmarks.md for what it is worth, and for how to have it.
COMPILED = not app.__file__.endswith(".py")

logger = logging.getLogger(__name__)


class Listening:
    """A gateway and its server, on the loop that runs when it is made."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.gateway = Gateway(settings)
        http = HttpSettings(max_body_bytes=settings.max_body_bytes, drain_s=settings.drain_s)
        tls = Tls(settings.tls_certificate, settings.tls_key) if settings.tls_certificate and settings.tls_key else None
        cors = Cors(settings.cors, exposed=_EXPOSED) if settings.cors else None
        self.server = Server(self.gateway, http, tls=tls, cors=cors)

    async def serve(self, sockets: Sequence[socket.socket]) -> None:
        """Serve until a signal comes or the server is stopped."""
        await self.gateway.start()
        try:
            await self.server.serve(sockets)
        finally:
            await self.gateway.stop()


def serve(settings: GatewaySettings) -> int:
    """Serve until a signal comes; return the exit code. Raises: PortBusy, InvalidInput."""
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise InvalidInput("TLS needs a certificate and a key", fix="give both --tls-certificate and --tls-key")
    if settings.tls_certificate and settings.tls_key:
        Tls(settings.tls_certificate, settings.tls_key)
    sockets = bind_all(settings.host, settings.port, settings.workers)
    try:
        host, port = sockets[0].getsockname()[:2]
        scheme = "https" if settings.tls_certificate else "http"
        address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        logger.info("the gateway listens on %s, its hot path %s", address, "compiled" if COMPILED else "not compiled")
        if settings.workers == 1:
            return _work(settings, sockets[0])
        clear(metrics_folder(settings))
        return supervise(sockets, lambda _, listener: _work(settings, listener))
    finally:
        for listener in sockets:
            listener.close()


def _work(settings: GatewaySettings, listener: socket.socket) -> int:
    async def main() -> None:
        await Listening(settings).serve([listener])

    run(main)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the process and return its exit code."""
    try:
        settings = read_settings(arguments)
        configure_logging(settings.log_format)
        return serve(settings)
    except ModelyardError as error:
        print(error, file=sys.stderr)
        return error.exit_code


def read_settings(arguments: Sequence[str] | None = None) -> GatewaySettings:
    """The settings that the command line gives."""
    parser = argparse.ArgumentParser(prog="python -m modelyard.gateway.server", description="Serve a route table.")
    parser.add_argument("--table", type=Path, required=True, help="the route table's file")
    parser.add_argument("--journal", type=Path, required=True, help="the folder to write interactions to")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8700)
    parser.add_argument("--workers", type=int, default=1, help="processes that share the address")
    parser.add_argument("--tls-certificate", type=Path, help="PEM file; taken again where it changes")
    parser.add_argument("--tls-key", type=Path, help="PEM file of the certificate's key")
    parser.add_argument("--cors", action="append", default=[], metavar="ORIGIN", help="a web page's origin, or *")
    parser.add_argument("--redis", default="", metavar="NAME", help="environment variable with the URL of a Redis")
    parser.add_argument("--on-redis-down", choices=("local", "open", "closed"), default="local")
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    parser.add_argument("--drain-timeout-s", type=float, default=30.0, help="how long requests may finish on SIGTERM")
    given = parser.parse_args(arguments)
    if given.workers < 1:
        parser.error("--workers is 1 or more")
    if given.redis:
        _check_redis(given.redis)
    return GatewaySettings(
        table=given.table,
        journal=given.journal,
        host=given.host,
        port=given.port,
        workers=given.workers,
        tls_certificate=given.tls_certificate,
        tls_key=given.tls_key,
        cors=tuple(given.cors),
        redis_url=os.environ[given.redis] if given.redis else "",
        on_redis_down=given.on_redis_down,
        log_format=given.log_format,
        drain_s=given.drain_timeout_s,
    )


def _check_redis(name: str) -> None:
    """Tell before any worker starts what each of them would fail on. Raises: InvalidInput, MissingExtra."""
    url = os.environ.get(name, "")
    if not url.startswith(_REDIS_SCHEMES):
        # The URL may hold a password: it is not shown.
        seen = "holds no URL of a Redis" if url else "is not set"
        raise InvalidInput(
            f"the environment variable {name} {seen}",
            expected="the URL of a Redis in it, such as redis://127.0.0.1:6379",
            fix="set it where the gateway runs, or leave --redis out",
        )
    if find_spec("redis") is None:
        raise MissingExtra("redis", "redis")


if __name__ == "__main__":
    sys.exit(main())
