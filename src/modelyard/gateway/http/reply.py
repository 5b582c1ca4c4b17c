"""The answer to one request: whole, or as a stream of chunks. Knows nothing of what is in it."""

import socket
import struct
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

from modelyard.gateway.http.message import Request

if TYPE_CHECKING:
    from modelyard.gateway.http.connection import Connection

CLOSE = b"connection: close\r\n"
# Answers that have no body, whatever is asked (RFC 9110, 6.4.1).
_BODILESS = frozenset({204, 205, 304})
_NO_LINGER = struct.pack("ii", 1, 0)
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


class Preludes(dict[int, bytes]):
    """Status line and date by status. The server clears it once a second."""

    def __missing__(self, status: int) -> bytes:
        date = formatdate(usegmt=True).encode()
        self[status] = made = b"HTTP/1.1 %d %b\r\ndate: %b\r\n" % (status, _REASONS.get(status, b"Status"), date)
        return made


class Reply:
    """One answer. Every method does nothing once `closed`: the answer is out, or the client is gone.

    `headers` are ready lines, each `b"name: value\\r\\n"`, without content-length, transfer-encoding, connection and
    date. `on_gone` is called once where the client leaves before the end. `on_pause` and `on_resume` are called,
    perhaps from within `write`, where the client reads more slowly than is written; what is written meanwhile is kept
    in memory. `broken_off` says at `on_gone` that it was the server which ended the connection, after waiting long
    enough while it drained.
    """

    __slots__ = (
        "_bodiless",
        "_chunked",
        "_head",
        "_link",
        "broken_off",
        "closed",
        "closes",
        "extra",
        "is_http_1_1",
        "on_gone",
        "on_pause",
        "on_resume",
        "started",
    )

    def __init__(self, link: "Connection", request: Request) -> None:
        self._link = link
        self.is_http_1_1 = self._chunked = not request.is_http_1_0
        self._bodiless = request.method == "HEAD"
        self._head = b""
        self.closes = request.closes
        self.extra = CLOSE if request.closes else b""
        self.started = False
        self.closed = False
        self.broken_off = False
        self.on_gone: Callable[[], None] | None = None
        self.on_pause: Callable[[], None] | None = None
        self.on_resume: Callable[[], None] | None = None

    @property
    def paused(self) -> bool:
        """Whether the client reads more slowly than is written."""
        return self._link.stalled_s > 0

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        """The whole answer."""
        if self.closed:
            return
        if self.started:
            raise RuntimeError("this answer has begun; it has one head")
        link = self._link
        prelude = link.server.preludes[status]
        if status in _BODILESS:
            link.transport.write(b"%b%b%b\r\n" % (prelude, self.extra, headers))
        else:
            shown = b"" if self._bodiless else body
            parts = (prelude, self.extra, headers, len(body), shown)
            link.transport.write(b"%b%b%bcontent-length: %d\r\n\r\n%b" % parts)
        self._end()

    def start(self, status: int, headers: bytes) -> None:
        """Begin a stream. The head goes out with the first chunk, or at the end of the loop's turn."""
        if self.closed:
            return
        if self.started:
            raise RuntimeError("this answer has begun; it has one head")
        self.started = True
        link = self._link
        if status in _BODILESS:
            self._bodiless = True
        if self._bodiless:
            self._chunked = False
        coding = b"transfer-encoding: chunked\r\n\r\n" if self._chunked else b"\r\n"
        self._head = b"%b%b%b%b" % (link.server.preludes[status], self.extra, headers, coding)
        link.loop.call_soon(self._flush)

    def write(self, data: bytes) -> None:
        """One chunk; none for no bytes."""
        if self.closed or not data:
            return
        if self._head:
            self._link.transport.write(self._take_head() + self._frame(data))
        elif self._chunked:
            self._link.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        elif not self._bodiless:
            self._link.transport.write(data)

    def finish(self, data: bytes = b"") -> None:
        """The last chunk, if there is one more, and the end."""
        if self.closed:
            return
        if not self.started:
            raise RuntimeError("this answer has not begun; call start first")
        last = self._frame(data) if data else b""
        if self._chunked:
            last += b"0\r\n\r\n"
        if self._head:
            last = self._take_head() + last
        if last:
            self._link.transport.write(last)
        self._end()

    def abort(self) -> None:
        """Break off, so that the client cannot take what it has for the whole. `on_gone` is not called."""
        if self.closed:
            return
        self._flush()
        link = self._link
        if self.started and not self._chunked and not self._bodiless:
            # The end of the connection would be the end of the answer; a reset cannot be mistaken.
            sock = link.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self._leave()
            link.break_off(at_once=True)
        else:
            self._leave()
            link.break_off(at_once=False)

    def close_after(self) -> None:
        """Close the connection after this answer, and say so where its head is not out."""
        if not self.started and not self.closes:
            self.extra += CLOSE
        self.closes = True

    def lose(self) -> None:
        """The client is gone: the connection says so."""
        gone = self.on_gone
        self.broken_off = self._link.server.is_breaking_off
        self._leave()
        if gone is not None:
            gone()

    def _frame(self, data: bytes) -> bytes:
        if self._chunked:
            return b"%x\r\n%b\r\n" % (len(data), data)
        return b"" if self._bodiless else data

    def _take_head(self) -> bytes:
        head, self._head = self._head, b""
        return head

    def _flush(self) -> None:
        if self._head and not self.closed:
            self._link.transport.write(self._take_head())

    def _end(self) -> None:
        self.started = True
        self._leave()
        self._link.done(self.closes)

    def _leave(self) -> None:
        self.closed = True
        self.on_gone = self.on_pause = self.on_resume = None
