"""The gateway as a bare ASGI callable: paths, keys, bodies, background work. Knows nothing of its server."""

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from time import monotonic

import msgspec

from modelyard.core.ids import new_id
from modelyard.gateway.call import Call
from modelyard.gateway.chat import Chat, Message, Receive, Send
from modelyard.gateway.errors import Refusal, error_body
from modelyard.gateway.feedback import read_feedback
from modelyard.gateway.journal import SEGMENT_BYTES, Journal
from modelyard.gateway.keys import authenticate
from modelyard.gateway.ledger import Ledger
from modelyard.gateway.metrics import CONTENT_TYPE, Metrics
from modelyard.gateway.shadow import MAX_IN_FLIGHT, Shadows
from modelyard.gateway.table import Kind, Routes, TableFile
from modelyard.gateway.upstream import Limits, Pool
from modelyard.ports.routes import Key

_WATCH_S = 0.05
_FLUSH_S = 1.0
_SHADOW_DRAIN_S = 5.0
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")

logger = logging.getLogger(__name__)


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the gateway listens, what it reads and writes, and its limits."""

    table: Path
    journal: Path
    host: str = "127.0.0.1"
    port: int = 8700
    limits: Limits = Limits()
    drain_s: float = 30.0
    max_body_bytes: int = 10 << 20
    max_shadows: int = MAX_IN_FLIGHT
    segment_bytes: int = SEGMENT_BYTES


class Request:
    """What came in: headers, a body still to be read, and the id that it is called by in logs and headers."""

    __slots__ = ("headers", "id", "receive", "started_s")

    def __init__(self, scope: Message, receive: Receive) -> None:
        self.started_s = monotonic()
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.receive = receive
        given = self.headers.get(b"x-request-id", b"")
        self.id = given.decode() if _REQUEST_ID.fullmatch(given) else new_id()

    async def read(self, max_bytes: int) -> bytes:
        """The whole body. Raises: Refusal (413) as soon as it is known to be too large, (400) where it breaks off."""
        declared = self.headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > max_bytes:
            raise _too_large(max_bytes)
        message = await self.receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            pieces = [body]
            size = len(body)
            while message.get("more_body"):
                message = await self.receive()
                pieces.append(message.get("body", b""))
                size += len(pieces[-1])
                if size > max_bytes:
                    raise _too_large(max_bytes)
            body = b"".join(pieces)
        if message["type"] == "http.disconnect":
            raise Refusal(400, "incomplete_body", "The connection was closed before the body was whole.")
        return body


def _too_large(max_bytes: int) -> Refusal:
    return Refusal(413, "body_too_large", f"The body is larger than {max_bytes >> 20} MiB. Send less at once.")


Handler = Callable[[Request, Send], Awaitable[None]]


class Gateway:
    """The ASGI callable."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self.table = TableFile(settings.table)
        self.journal = Journal(settings.journal, segment_bytes=settings.segment_bytes)
        self.metrics = Metrics()
        self.pool = Pool(settings.limits)
        ledger = Ledger(self.journal, self.metrics)
        self._ledger = ledger
        self._shadows = Shadows(self.pool, ledger, max_in_flight=settings.max_shadows)
        self._chat = Chat(self.pool, ledger, self._shadows)
        self._handlers: dict[str, tuple[str, Handler]] = {
            "/v1/chat/completions": ("POST", self._answer_chat),
            "/v1/completions": ("POST", self._answer_completion),
            "/v1/models": ("GET", self._list_models),
            "/v1/feedback": ("POST", self._take_feedback),
            "/health": ("GET", self._say_health),
            "/ready": ("GET", self._say_ready),
            "/metrics": ("GET", self._render_metrics),
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one ASGI scope."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        request = Request(scope, receive)
        try:
            await self._handler(scope)(request, send)
        except Refusal as refusal:
            await self._refuse(request, refusal, send)
        except Exception:
            logger.exception("request %s to %s failed inside the gateway", request.id, scope["path"])
            # Where the answer has begun, no error fits in any more: the server closes the connection.
            with contextlib.suppress(RuntimeError):
                failure = Refusal(500, "internal_error", f"The gateway failed. Its log tells more of {request.id}.")
                await self._refuse(request, failure, send)

    def _handler(self, scope: Message) -> Handler:
        method, handler = self._handlers.get(scope["path"], ("", None))
        if handler is None:
            raise Refusal(404, "unknown_url", f"There is nothing here. There are: {', '.join(self._handlers)}.")
        if scope["method"] != method:
            allow = ((b"allow", method.encode()),)
            raise Refusal(405, "method_not_allowed", f"Use {method} here, not {scope['method']}.", headers=allow)
        return handler

    async def _answer_chat(self, request: Request, send: Send) -> None:
        await self._answer("chat", request, send)

    async def _answer_completion(self, request: Request, send: Send) -> None:
        await self._answer("completions", request, send)

    async def _answer(self, kind: Kind, request: Request, send: Send) -> None:
        routes, key = self._admit(request)
        body = await request.read(self.settings.max_body_bytes)
        call = Call(kind, body, routes, key, request.id, request.started_s)
        call.settle_unit(request.headers.get(b"x-modelyard-unit"))
        await self._chat.answer(call, request.receive, send)

    async def _take_feedback(self, request: Request, send: Send) -> None:
        routes, key = self._admit(request)
        body = await request.read(self.settings.max_body_bytes)
        feedback = read_feedback(body, key.tenant, keep_text=routes.keeps_texts)
        self._ledger.enter_feedback(feedback)
        accepted = msgspec.json.encode({"id": feedback.id, "object": "feedback", "status": "accepted"})
        await _reply(send, 202, accepted, request)

    async def _list_models(self, request: Request, send: Send) -> None:
        routes, _ = self._admit(request)
        await _reply(send, 200, routes.models, request)

    async def _say_health(self, request: Request, send: Send) -> None:
        await _reply(send, 200, b'{"status":"ok"}', request)

    async def _say_ready(self, request: Request, send: Send) -> None:
        version = self._routes().table.version
        await _reply(send, 200, msgspec.json.encode({"status": "ready", "table_version": version}), request)

    async def _render_metrics(self, request: Request, send: Send) -> None:
        body = self.metrics.render(self.table, self.journal, self.pool.num_retries)
        await _reply(send, 200, body, request, kind=CONTENT_TYPE)

    def _routes(self) -> Routes:
        if self.table.routes is None:
            retry = ((b"retry-after", b"1"),)
            message = "The gateway has no route table yet. Publish one, or look into its log for why it was not taken."
            raise Refusal(503, "not_ready", message, headers=retry)
        return self.table.routes

    def _admit(self, request: Request) -> tuple[Routes, Key]:
        routes = self._routes()
        return routes, authenticate(routes.keys, request.headers.get(b"authorization"))

    async def _refuse(self, request: Request, refusal: Refusal, send: Send) -> None:
        self.metrics.refused[refusal.status, refusal.code] += 1
        body = error_body(refusal.status, refusal.code, refusal.seen, refusal.param)
        await _reply(send, refusal.status, body, request, headers=refusal.headers)

    async def _live(self, receive: Receive, send: Send) -> None:
        """The life of the process: a first look at the table, work in the background, and an orderly end."""
        await receive()
        self.table.refresh()
        background = [asyncio.create_task(self._watch()), asyncio.create_task(self._flush())]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._shadows.drain(min(_SHADOW_DRAIN_S, self.settings.drain_s))
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        self.pool.close()
        self.journal.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_S)
            if self.table.refresh() and self.table.routes:
                self.pool.keep(self.table.routes.origins)

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_S)
            await self.journal.flush()


async def _reply(
    send: Send,
    status: int,
    body: bytes,
    request: Request,
    *,
    kind: bytes = b"application/json",
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    fields = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), (b"x-request-id", request.id.encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*fields, *headers]})
    await send({"type": "http.response.body", "body": body})
