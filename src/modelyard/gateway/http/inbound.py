"""What arrives on a connection: bytes in, whole or refused requests out, within the limits of the server.

It knows nothing of how they are answered, only whether another answer has still to come first.
"""

import asyncio
import logging
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import httptools

from modelyard.gateway.errors import Refusal
from modelyard.gateway.http import refusals
from modelyard.gateway.http.message import Request
from modelyard.gateway.http.reply import Reply

if TYPE_CHECKING:
    from modelyard.gateway.http.server import Server

# One read may hold thousands of tiny requests; those beyond this are left unanswered and the connection is closed.
_MAX_PIPELINED = 100
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# Headers with one value: a second one means that somebody on the way reads the request in another way than we do.
_SINGLE = frozenset(
    b"authorization content-encoding content-length content-type expect host origin transfer-encoding x-api-key".split()
)

logger = logging.getLogger(__name__)


class Inbound:
    """The reading half of a connection: a protocol for asyncio's transports, which ask for no base class."""

    __slots__ = (
        "_body",
        "_deaf",
        "_eof",
        "_fed",
        "_handler",
        "_head_bytes",
        "_head_done",
        "_headers",
        "_last",
        "_num_repeated",
        "_parser",
        "_peer",
        "_read_paused",
        "_reply",
        "_request",
        "_seen_size",
        "_since_s",
        "_size",
        "_started_s",
        "_url",
        "_waiting",
        "_window_size",
        "loop",
        "server",
        "stalled_s",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.loop = server.loop
        self.stalled_s = 0.0  # since when the client does not read; 0 while it does
        self._handler = server.handler
        self._parser = httptools.HttpRequestParser(self)
        self._peer = ""
        self._request: Request | None = None  # what is arriving
        self._reply: Reply | None = None  # what is being answered
        self._waiting: deque[Request] | None = None  # what came whole while another was being answered
        self._headers: dict[bytes, bytes] = {}
        self._url = b""
        self._body: bytes | bytearray = b""
        self._size = self._seen_size = 0
        self._window_size = -1
        self._fed = 0
        self._head_bytes = 0
        self._num_repeated = 0
        self._head_done = False
        self._last = False  # no request after the one that arrived last is answered
        self._deaf = False  # closing: what still arrives is thrown away
        self._eof = False
        self._read_paused = False
        self._started_s = self._since_s = 0.0

    # What the answering half does.

    def _admit(self, request: Request) -> None:
        raise NotImplementedError

    def _answer(self, request: Request) -> None:
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        if self._deaf:
            return
        if self._request is None:
            self._started_s = monotonic()
        else:
            self._head_bytes += self._fed
        self._fed = len(data)
        self._feed(data)
        if self._request is not None and not self._deaf:
            self._look_at_unfinished(self._request)

    # What the parser calls. An exception here would leave it unusable.

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._since_s = self._started_s
        self._request = request = Request(self._peer, self._started_s)
        self._headers = request.headers
        self._url = self._body = b""
        self._size = self._seen_size = self._head_bytes = self._num_repeated = 0
        self._window_size = -1
        self._head_done = False

    def on_url(self, url: bytes) -> None:
        """A piece of the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, of which none is used."""
        headers = self._headers
        name = name.lower()
        if name in headers:
            self._repeat(name, value)
        elif not self._head_done:
            headers[name] = value

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._head_done = True
        request = cast(Request, self._request)
        headers = self._headers
        parser = self._parser
        request.method = parser.get_method().decode()
        path, _, request.query = self._url.partition(b"?")
        request.path = path.decode()
        if path[:1] != b"/" or b"%" in path:
            self._read_target(request)
        if parser.get_http_version() != "1.1":
            self._read_version(request)
        elif b"host" not in headers:
            self._refuse_for_good(request, refusals.malformed("there is no 'host' header"))
        if len(headers) + self._num_repeated > self.server.settings.max_headers or self._is_head_large():
            self._refuse_for_good(request, self._large_head())
        if self._reply is None and not self._waiting and request.refusal is None:
            self._admit(request)

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        if not self._size:
            self._body = data
        else:
            if type(self._body) is bytes:
                self._body = bytearray(self._body)
            self._body += data
        self._size += len(data)
        if self._size > self.server.settings.max_body_bytes:
            self._body = b""
            request = cast(Request, self._request)
            if request.refusal is None:
                self._refuse_for_good(request, refusals.large_body(self.server.settings.max_body_bytes))

    def on_message_complete(self) -> None:
        """The request is whole."""
        request = cast(Request, self._request)
        if b"upgrade" in self._headers and self._is_body_left():
            return
        self._request = None
        self._fed = 0  # how much of it belongs to the next head is not known
        if self._last:
            return
        if not self._parser.should_keep_alive():
            request.closes = True
        if request.closes:
            self._last = True
        body = self._body
        request.body = body if type(body) is bytes else bytes(body)
        if self._reply is None and not self._waiting:
            self._answer(request)
        else:
            self._queue(request)

    # Reading a request.

    def _feed(self, data: bytes | memoryview) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            self._feed_after_upgrade(memoryview(data)[error.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse_bytes(data, error)

    def _feed_after_upgrade(self, rest: memoryview) -> None:
        """Any upgrade is declined by answering in HTTP/1.1; what follows is the body, or the next request."""
        if self._request is not None:
            try:
                self._parser = _parse_body(self, self._headers)
            except httptools.HttpParserError as error:
                # The head is looked at more closely than that of an upgrade was.
                self._refuse_bytes(rest, error)
                return
            self._feed(rest)
            return
        while rest and not self._last:
            try:
                self._parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as error:
                rest = rest[error.args[0] :]
                if self._request is not None:
                    self._feed_after_upgrade(rest)
                    return
            except httptools.HttpParserError as error:
                self._refuse_bytes(rest, error)
                return

    def _is_body_left(self) -> bool:
        """Whether httptools takes the request for whole though its body is still to come, as it does with upgrades."""
        headers = self._headers
        framed = b"transfer-encoding" in headers or bool(headers.get(b"content-length", b"").strip(b"0"))
        return framed and bool(self._parser.should_upgrade()) and self._request is not None

    def _refuse_bytes(self, data: bytes | memoryview, error: Exception) -> None:
        if self._last:
            return
        request = self._request or Request(self._peer, self._started_s)
        is_tls = data[:2] == b"\x16\x03" and not self._url
        refusal = refusals.spoke_tls() if is_tls else refusals.malformed(str(error).rstrip(".") or "it cannot be read")
        if isinstance(error, httptools.HttpParserCallbackError):
            # Our own mistake, which must not look like the client's.
            logger.error("a request could not be read", exc_info=error.__context__ or error)
            refusal = refusals.broken()
        if request.refusal is None:
            self._refuse_for_good(request, refusal)
        self._cut(request)

    def _cut(self, request: Request) -> None:
        """Answer what cannot be read to its end, after the answers before it; nothing more is read."""
        self._last = request.closes = True
        if self._reply is None and not self._waiting:
            self._request = request
            self._answer(request)
        else:
            self._request = None
            self._queue(request)

    def _queue(self, request: Request) -> None:
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(request)
        self._pause_reading()
        if len(self._waiting) >= _MAX_PIPELINED:
            self._last = request.closes = True

    def _pause_reading(self) -> None:
        if not self._read_paused:
            self._read_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._read_paused and not self.transport.is_closing():
            self._read_paused = False
            self.transport.resume_reading()

    def _repeat(self, name: bytes, value: bytes) -> None:
        request = self._request
        self._num_repeated += 1
        if self._head_done or request is None or request.refusal is not None:
            return
        if name in _SINGLE:
            self._refuse_for_good(request, refusals.repeated(name))
        elif self._num_repeated > self.server.settings.max_headers:
            self._refuse_for_good(request, self._large_head())
        else:
            joint = b"; " if name == b"cookie" else b", "
            self._headers[name] += joint + value

    def _read_target(self, request: Request) -> None:
        """A target with escapes, or one that is not a path (RFC 9112, 3.2)."""
        if request.method == "CONNECT":
            self._refuse_for_good(request, refusals.malformed("CONNECT is for proxies, and this is none"))
        elif self._url[:1] == b"/":
            request.path = unquote(request.path)
        elif self._url != b"*":
            try:
                # Its stub promises bytes where there may be None, which compiled code would take for a mistake.
                parts: Any = httptools.parse_url(self._url)
            except httptools.HttpParserInvalidURLError:
                self._refuse_for_good(request, refusals.malformed("the target is neither a path nor a URL"))
                return
            request.path = unquote((parts.path or b"/").decode("latin-1"))
            request.query = parts.query or b""

    def _read_version(self, request: Request) -> None:
        version = self._parser.get_http_version()
        request.is_http_1_0 = request.closes = True
        if version != "1.0":
            self._refuse_for_good(request, refusals.unknown_version(version))
        elif b"transfer-encoding" in self._headers:
            self._refuse_for_good(request, refusals.malformed("HTTP/1.0 has no 'transfer-encoding'"))

    def _is_head_large(self) -> bool:
        limit = self.server.settings.max_head_bytes
        if self._fed + self._head_bytes <= limit:
            return False
        return len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers.items()) > limit

    def _large_head(self) -> Refusal:
        settings = self.server.settings
        return refusals.large_head(settings.max_head_bytes, settings.max_headers)

    def _refuse_for_good(self, request: Request, refusal: Refusal) -> None:
        """Refuse and close: what follows cannot be trusted or is not wanted."""
        if request.refusal is None:
            request.refusal = refusal
        request.closes = True

    def _look_at_unfinished(self, request: Request) -> None:
        """After a read that did not bring the request's end."""
        settings = self.server.settings
        if not self._head_done:
            if request.refusal is not None:
                self._cut(request)
            elif self._head_bytes > settings.max_head_bytes:
                self._refuse_for_good(request, self._large_head())
                self._cut(request)
        elif self._reply is not None or self._waiting:
            self._pause_reading()
        else:
            if request.refusal is None and int(self._headers.get(b"content-length", b"0")) > settings.max_body_bytes:
                self._refuse_for_good(request, refusals.large_body(settings.max_body_bytes))
            if request.refusal is not None:
                self._cut(request)
            elif not self._size and self._headers.pop(b"expect", b"").lower() == b"100-continue":
                if self._parser.get_http_version() == "1.1":
                    self.transport.write(CONTINUE)
            elif self._size != self._seen_size:
                self._seen_size, self._head_bytes = self._size, 0
            elif self._head_bytes > settings.max_head_bytes:
                # Trailers or chunk extensions without end.
                self._refuse_for_good(request, self._large_head())
                self._cut(request)


class _Body:
    """The callbacks of a parser that reads one body alone."""

    def __init__(self, inbound: Inbound) -> None:
        self.on_body = inbound.on_body
        self.on_message_complete = inbound.on_message_complete


def _parse_body(inbound: Inbound, headers: dict[bytes, bytes]) -> Any:
    """A parser that stands behind a head. Its request is the last of the connection."""
    parser = httptools.HttpRequestParser(_Body(inbound))
    name = b"transfer-encoding" if b"transfer-encoding" in headers else b"content-length"
    parser.feed_data(b"POST / HTTP/1.1\r\nconnection: close\r\n%b: %b\r\n\r\n" % (name, headers[name]))
    return parser
