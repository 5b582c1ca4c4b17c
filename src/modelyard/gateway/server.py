"""The gateway's process: `python -m modelyard.gateway.server --table FILE --journal FOLDER`.

It has its own small command line so that it never loads the large one. On SIGTERM it takes no new connections, lets
the requests in flight finish, writes the journal out and ends with code 0.
"""

import argparse
import errno
import logging
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import uvicorn

from modelyard.core.errors import InvalidInput, ModelyardError, PortBusy
from modelyard.gateway.app import Gateway, GatewaySettings
from modelyard.gateway.upstream import Limits

_KEEP_ALIVE_S = 75

logger = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """Uvicorn's server, for which a signal is a request to end well and not a way to die."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End after the requests in flight; at the second signal, at once."""
        self.force_exit = self.should_exit
        self.should_exit = True


def bind(host: str, port: int) -> socket.socket:
    """A listening address, taken before anything else starts. Raises: PortBusy, InvalidInput."""
    if not 0 <= port <= 65535:
        raise InvalidInput(f"there is no port {port}", expected="a number from 0 to 65535", fix="give another --port")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            # Without this, a second process could take the same port up to its own listen.
            listener.listen()
        except OSError:
            listener.close()
            raise
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortBusy(
                f"port {port} on {host} is in use by another process",
                expected="a free port",
                fix=f"stop that process, or choose another port than {port} with --port",
            ) from error
        raise InvalidInput(
            f"{host}:{port} cannot be listened on: {error}", fix="give another --host or --port"
        ) from error
    listener.set_inheritable(False)
    return listener


def build_server(settings: GatewaySettings) -> Server:
    """The server, ready to run on a socket."""
    config = uvicorn.Config(
        Gateway(settings),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
    )
    return Server(config)


def serve(settings: GatewaySettings) -> None:
    """Serve until a signal comes. Raises: PortBusy, InvalidInput."""
    with bind(settings.host, settings.port) as listener:
        host, port = listener.getsockname()[:2]
        logger.info("the gateway listens on http://%s:%d", f"[{host}]" if ":" in host else host, port)
        build_server(settings).run(sockets=[listener])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the process and return its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        serve(read_settings(arguments))
    except ModelyardError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def read_settings(arguments: Sequence[str] | None = None) -> GatewaySettings:
    """The settings that the command line gives."""
    limits = Limits()
    parser = argparse.ArgumentParser(prog="python -m modelyard.gateway.server", description="Serve a route table.")
    parser.add_argument("--table", type=Path, required=True, help="the route table's file")
    parser.add_argument("--journal", type=Path, required=True, help="the folder to write interactions to")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8700)
    parser.add_argument("--connect-timeout-s", type=float, default=limits.connect_s)
    parser.add_argument("--first-byte-timeout-s", type=float, default=limits.first_byte_s)
    parser.add_argument("--chunk-timeout-s", type=float, default=limits.chunk_s)
    parser.add_argument("--drain-timeout-s", type=float, default=30.0, help="how long requests may finish on SIGTERM")
    given = parser.parse_args(arguments)
    return GatewaySettings(
        table=given.table,
        journal=given.journal,
        host=given.host,
        port=given.port,
        limits=Limits(
            connect_s=given.connect_timeout_s,
            first_byte_s=given.first_byte_timeout_s,
            chunk_s=given.chunk_timeout_s,
        ),
        drain_s=given.drain_timeout_s,
    )


if __name__ == "__main__":
    sys.exit(main())
