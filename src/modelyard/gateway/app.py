"""The gateway: what it answers at which path, and to whom. Knows nothing of sockets."""

import re
from collections.abc import Callable

import msgspec

from modelyard.core.ids import new_id
from modelyard.gateway.dialects.dialect import PATHS, error_body
from modelyard.gateway.dialects.said import Kind
from modelyard.gateway.errors import Refusal
from modelyard.gateway.exchange.call import Call
from modelyard.gateway.exchange.counting import Counting
from modelyard.gateway.exchange.exchange import JSON, Exchanges
from modelyard.gateway.exchange.permits import check_scope
from modelyard.gateway.exchange.shadow import Shadows
from modelyard.gateway.http import Reply, Request
from modelyard.gateway.keys import authenticate
from modelyard.gateway.recording.exposition import CONTENT_TYPE
from modelyard.gateway.recording.feedback import read_feedback
from modelyard.gateway.settings import GatewaySettings
from modelyard.gateway.state import GatewayState
from modelyard.gateway.table import Routes

_SHADOW_DRAIN_S = 5.0
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")

Answerer = Callable[["Gateway", Request, Reply], None]


class Gateway:
    """The handler of the HTTP server."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self.state = state = GatewayState(settings)
        self._shadows = Shadows(state.pool, state.ledger, max_in_flight=settings.max_shadows)
        self._counting = Counting(state.pool, state.permits)
        self._exchanges = Exchanges(state.pool, state.ledger, self._shadows, state.permits)

    async def start(self) -> None:
        """Get ready for the first request."""
        await self.state.start()

    async def stop(self) -> None:
        """An orderly end, after the last answer."""
        await self._shadows.drain(min(_SHADOW_DRAIN_S, self.settings.drain_s))
        await self.state.stop()

    def admit(self, request: Request) -> None:
        """Refuse what is known to be refused before its body is read."""
        place = _PLACES.get(request.path)
        if place is None:
            raise Refusal(404, "unknown_url", f"There is nothing here. There are: {', '.join(_PLACES)}.")
        if request.method != place.method:
            allow = ((b"allow", place.method.encode()),)
            message = f"Use {place.method} here, not {request.method}."
            raise Refusal(405, "method_not_allowed", message, headers=allow)
        if place.needs_key:
            routes = self._routes()
            request.context = (place, routes, authenticate(routes.keys, request.headers))
        else:
            request.context = (place, None, None)

    def handle(self, request: Request, reply: Reply) -> None:
        """Answer a whole request."""
        place, routes, key = request.context
        if place.kind is None:
            place.answer(self, request, reply)
        else:
            self._exchanges.begin(Call(place.kind, request, _request_id(request), routes, key), reply)

    def failed(self, refusal: Refusal, request: Request | None) -> bytes:
        """The body for a refusal."""
        self.state.metrics.refuse(refusal)
        id = (_request_id(request) if request else "") or new_id()
        place = _PLACES.get(request.path) if request else None
        kind: Kind = place.dialect or place.kind or "chat" if place else "chat"
        refusal.headers = (*refusal.headers, (b"x-request-id", id.encode()))
        if kind == "messages":
            refusal.headers = (*refusal.headers, (b"request-id", id.encode()))
        return error_body(kind, refusal.status, refusal.code, refusal.seen, refusal.param, request_id=id)

    def take_feedback(self, request: Request, reply: Reply) -> None:
        """A judgement on an answer given earlier."""
        _, routes, key = request.context
        check_scope(key, "feedback")
        feedback = read_feedback(request.body, key.tenant, keep_text=routes.keeps_texts)
        self.state.ledger.enter_feedback(feedback)
        accepted = msgspec.json.encode({"id": feedback.id, "object": "feedback", "status": "accepted"})
        _send(reply, 202, accepted, request)

    def list_models(self, request: Request, reply: Reply) -> None:
        """The services."""
        _, routes, key = request.context
        check_scope(key, "models")
        _send(reply, 200, routes.models, request)

    def count_tokens(self, request: Request, reply: Reply) -> None:
        """How long a prompt is, without an answer."""
        _, routes, key = request.context
        self._counting.begin(Call("messages", request, _request_id(request), routes, key), reply)

    def say_health(self, request: Request, reply: Reply) -> None:
        """The process is alive."""
        _send(reply, 200, b'{"status":"ok"}', request)

    def say_ready(self, request: Request, reply: Reply) -> None:
        """The process has a table to serve from."""
        version = self._routes().table.version
        _send(reply, 200, msgspec.json.encode({"status": "ready", "table_version": version}), request)

    def render_metrics(self, request: Request, reply: Reply) -> None:
        """For a scraper."""
        _send(reply, 200, self.state.render_metrics(), request, kind=b"content-type: %b\r\n" % CONTENT_TYPE)

    def _routes(self) -> Routes:
        if self.state.table.routes is None:
            retry = ((b"retry-after", b"1"),)
            message = "The gateway has no route table yet. Publish one, or look into its log for why it was not taken."
            raise Refusal(503, "not_ready", message, headers=retry)
        return self.state.table.routes


class Place:
    """What is at a path: a dialect's endpoint (`kind`), or what `answer` says, with errors as `dialect` tells them."""

    __slots__ = ("answer", "dialect", "kind", "method", "needs_key")

    def __init__(
        self,
        method: str,
        answer: Answerer | None = None,
        *,
        kind: Kind | None = None,
        dialect: Kind | None = None,
        needs_key: bool = True,
    ) -> None:
        self.method = method
        self.answer = answer
        self.kind = kind
        self.dialect = dialect
        self.needs_key = needs_key


_PLACES = {
    **{path: Place("POST", kind=kind) for kind, path in PATHS.items()},
    "/v1/messages/count_tokens": Place("POST", Gateway.count_tokens, dialect="messages"),
    "/v1/models": Place("GET", Gateway.list_models),
    "/v1/feedback": Place("POST", Gateway.take_feedback),
    "/health": Place("GET", Gateway.say_health, needs_key=False),
    "/ready": Place("GET", Gateway.say_ready, needs_key=False),
    "/metrics": Place("GET", Gateway.render_metrics, needs_key=False),
}


def _request_id(request: Request) -> str:
    """The caller's id for its request, empty where it gave none that can be passed on."""
    given = request.headers.get(b"x-request-id")
    return given.decode() if given and _REQUEST_ID.fullmatch(given) else ""


def _send(reply: Reply, status: int, body: bytes, request: Request, *, kind: bytes = JSON) -> None:
    id = _request_id(request) or new_id()
    reply.send(status, b"%bx-request-id: %b\r\n" % (kind, id.encode()), body)
