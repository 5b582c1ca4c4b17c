"""Listening addresses, taken before anything else starts."""

import errno
import socket

from modelyard.core.errors import InvalidInput, PortBusy


def bind(host: str, port: int) -> socket.socket:
    """A listening address that nobody else has. Raises: PortBusy, InvalidInput."""
    return _bind(host, port, shared=False)


def bind_all(host: str, port: int, count: int) -> list[socket.socket]:
    """The same address `count` times, between which the system divides the connections. Raises: as `bind`."""
    if count == 1:
        return [bind(host, port)]
    # A shared address could be taken beside another program's shared one: look first whether it is free.
    with bind(host, port) as probe:
        port = int(probe.getsockname()[1])
    return [_bind(host, port, shared=True) for _ in range(count)]


def _bind(host: str, port: int, *, shared: bool) -> socket.socket:
    if not 0 <= port <= 65535:
        raise InvalidInput(f"there is no port {port}", expected="a number from 0 to 65535", fix="give another --port")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
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
