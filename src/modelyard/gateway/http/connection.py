"""One client's connection: requests to the handler in order, one answer at a time.

Nothing here is a timer of its own: `sweep`, called once a second, ends what takes too long.
"""

import asyncio
import logging
import socket
from time import monotonic
from typing import cast

from modelyard.gateway.errors import Refusal
from modelyard.gateway.http import refusals
from modelyard.gateway.http.inbound import CONTINUE, Inbound
from modelyard.gateway.http.message import Request
from modelyard.gateway.http.reply import Reply

# Connections beyond the limit that are told so; those beyond these are closed without a word.
_MAX_TURNED_AWAY = 1000
_PROBE_S = 0.1

logger = logging.getLogger(__name__)


class Connection(Inbound):
    """A connection, from accept to close."""

    __slots__ = ()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or say that there are too many."""
        self.transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if isinstance(peer, tuple) else ""
        self._since_s = monotonic()
        self.server.connections.add(self)
        if self.server.is_full:
            self._turn_away()

    def eof_received(self) -> bool:
        """The client sends no more. It may have closed only its own side, and still wait for answers.

        Returns: whether to keep the other side open.
        """
        self._eof = self._last = True
        self._request = None
        if self._reply is None and not self._waiting:
            return False
        if self._reply is not None and self._reply.started:
            # A reader of a stream that closes its side has left; whether it has, nobody could find out in silence.
            return False
        if self.transport.get_extra_info("sslcontext") is not None:
            return False
        if self._waiting:
            self._waiting[-1].closes = True
        elif self._reply is not None:
            self._reply.close_after()
        self._probe()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, whoever wanted it."""
        self._deaf = self._last = True
        self._request = self._waiting = None
        self.server.forget(self)
        reply, self._reply = self._reply, None
        if reply is not None:
            reply.lose()

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        self.stalled_s = monotonic()
        if self._reply is not None and self._reply.on_pause is not None:
            self._reply.on_pause()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.stalled_s = 0.0
        if self._reply is not None and self._reply.on_resume is not None:
            self._reply.on_resume()

    def _turn_away(self) -> None:
        if len(self.server.connections) > self.server.settings.max_connections + _MAX_TURNED_AWAY:
            self._deaf = self._last = True
            self.transport.abort()
        else:
            request = Request(self._peer, self._since_s)
            self._refuse_for_good(request, refusals.crowded())
            self._cut(request)

    # Answering.

    def _admit(self, request: Request) -> None:
        cors = self.server.cors
        if cors is not None and cors.preflight(request) is not None:
            return
        try:
            self._handler.admit(request)
        except Refusal as refusal:
            request.refusal = refusal
        except Exception:
            logger.exception("%s %s failed before its body was read", request.method, request.path)
            request.refusal = refusals.broken()

    def _answer(self, request: Request) -> None:
        """Answer a request that is whole or refused; nothing else is being answered."""
        if request.refusal is not None:
            self._answer_refusal(request, request.refusal)
            return
        self._reply = reply = Reply(self, request)
        cors = self.server.cors
        if cors is not None:
            reply.extra += cors.block(request)
            preflight = cors.preflight(request)
            if preflight is not None:
                reply.send(204, preflight, b"")
                return
        try:
            self._handler.handle(request, reply)
        except Refusal as refusal:
            self._send_refusal(request, refusal, reply)
        except Exception:
            logger.exception("%s %s failed inside the gateway", request.method, request.path)
            self._send_refusal(request, refusals.broken(), reply)

    def _answer_refusal(self, request: Request, refusal: Refusal) -> None:
        if refusal.status in (408, 503):
            request.closes = True
        self._reply = reply = Reply(self, request)
        if self.server.cors is not None:
            reply.extra += self.server.cors.block(request)
        self._send_refusal(request, refusal, reply)

    def _send_refusal(self, request: Request, refusal: Refusal, reply: Reply) -> None:
        if reply.started:
            reply.abort()
            return
        body = self._handler.failed(refusal, request)
        lines = b"".join(b"%b: %b\r\n" % header for header in refusal.headers)
        reply.send(refusal.status, b"content-type: application/json\r\n" + lines, body)

    def done(self, closes: bool) -> None:
        """The answer is out: on to the next request, or to the end."""
        self._reply = None
        if closes:
            self._close()
        elif self._read_paused:
            self.loop.call_soon(self._advance)
        else:
            self._since_s = self.server.now_s

    def _advance(self) -> None:
        """Turn to the next request of the pipeline: one that is whole, or one that is still arriving."""
        if self._deaf or self._reply is not None:
            return
        self._since_s = self.server.now_s
        if self._waiting:
            request = self._waiting.popleft()
            if request.refusal is None:
                self._admit(request)
            self._answer(request)
        else:
            self._resume_reading()
            request_or_none = self._request
            if request_or_none is not None and self._head_done:
                if request_or_none.refusal is None:
                    self._admit(request_or_none)
                self._look_at_unfinished(request_or_none)

    # Ending.

    def drain(self) -> None:
        """Answer what is in flight and then close; at once if there is nothing."""
        if self._reply is not None:
            self._reply.close_after()
            if self._waiting:
                self._waiting.clear()
            self._last = True
        elif self._request is not None:
            self._request.closes = True
        elif not self._deaf:
            self._close()

    def break_off(self, *, at_once: bool) -> None:
        """Close in the middle of an answer, with what was written before or without."""
        self._reply = None
        if at_once:
            self._deaf = self._last = True
            self.transport.abort()
        else:
            self._close()

    def _close(self) -> None:
        """Close, in a way that lets the client read the answer even while it is still sending."""
        self._deaf = self._last = True
        self._since_s = monotonic()
        still_sends = self._request is not None or self._read_paused
        self._request = self._waiting = None
        if still_sends and not self._eof and not self.transport.is_closing() and self.transport.can_write_eof():
            self.transport.write_eof()
            self._resume_reading()
        else:
            self.transport.close()

    def sweep(self, now_s: float) -> None:
        """End what takes too long. Called once a second."""
        settings = self.server.settings
        waited_s = now_s - self._since_s
        if self._deaf:
            if waited_s > settings.linger_s:
                self.transport.abort()
        elif self._reply is not None:
            if self.stalled_s and now_s - self.stalled_s > settings.write_s:
                self.transport.abort()
            elif self._eof:
                self._look_for_client()
        elif self._request is not None:
            self._sweep_unfinished(self._request, now_s, waited_s)
        elif not self._waiting and waited_s > settings.idle_s:
            self._close()

    def _sweep_unfinished(self, request: Request, now_s: float, waited_s: float) -> None:
        settings = self.server.settings
        if not self._head_done:
            if waited_s > settings.head_s:
                self._refuse_for_good(request, refusals.late("head of the request", settings.head_s))
                self._cut(request)
        elif self._window_size < 0:
            self._window_size, self._since_s = self._size, now_s
        elif waited_s > settings.body_s:
            if self._size - self._window_size < settings.min_body_bytes_s * settings.body_s:
                self._refuse_for_good(request, refusals.late("body of the request", settings.body_s))
                self._cut(request)
            else:
                self._window_size, self._since_s = self._size, now_s

    def _probe(self) -> None:
        """Find out whether the client closed its side or is gone, which look the same.

        An interim answer, which every client of HTTP/1.1 must take (RFC 9110, 15.2), is reset by one that is gone.
        """
        reply = self._reply
        if reply is not None and not reply.started and not self.transport.is_closing():
            if reply.is_http_1_1:
                self.transport.write(CONTINUE)
            self.loop.call_later(_PROBE_S, self._look_for_client)

    def _look_for_client(self) -> None:
        if self._reply is None or self.transport.is_closing():
            return
        sock = self.transport.get_extra_info("socket")
        if sock is not None and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()
