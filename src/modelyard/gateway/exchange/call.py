"""A caller's request: checked, with all that is known of it before it is answered."""

from functools import partial
from time import monotonic

from modelyard.core.digests import digest_text, short
from modelyard.core.ids import new_id
from modelyard.gateway.dialects.said import Kind, Said
from modelyard.gateway.errors import Refusal
from modelyard.gateway.guards.texts import TEXT_FIELDS, texts_in
from modelyard.gateway.http import Request
from modelyard.gateway.routing.admission import deadline_of
from modelyard.gateway.routing.replicas import affinity_key
from modelyard.gateway.routing.rules import Facts
from modelyard.gateway.table import Route, Routes
from modelyard.ports.limits import Tenant
from modelyard.ports.routes import Key

_NO_TENANT = Tenant(name="")
_MAX_SESSION_BYTES = 256


class Call(Facts):
    """One request of one caller. `said` is its body, `user` the digest of the user that it names.

    `request_id` is the caller's, or, where it gave none (`owns_id`), the id of the first attempt too. `started_s` is
    the monotonic moment of its arrival, `deadline_s` the one by which its answer is to be whole.
    """

    __slots__ = (
        "api_key",
        "deadline_s",
        "num_attempts",
        "owner",
        "owns_id",
        "queued_s",
        "request_id",
        "route",
        "said",
        "started_s",
        "table_version",
        "trace_id",
        "unit_digest",
    )

    def __init__(self, kind: Kind, request: Request, request_id: str, routes: Routes, key: Key) -> None:
        headers = request.headers
        self.said = said = Said(kind, request.body)
        self.api_key = key
        self.route = _find_route(said.model, routes)
        self.table_version = routes.table.version
        self.owner = routes.tenants.get(key.tenant, _NO_TENANT)
        self.owns_id = not request_id
        self.request_id = request_id or new_id()
        self.started_s = request.started_s
        self.deadline_s = deadline_of(
            headers.get(b"x-modelyard-deadline-ms"), self.started_s, self.route.service.timeouts.total_s
        )
        self.num_attempts = 0
        self.queued_s = 0.0
        self.tenant = key.tenant
        self.key = key.id
        self.endpoint = kind
        self.stream = said.stream
        self.headers = headers
        self.trace_id = _trace_of(headers.get(b"traceparent", b""))
        session = headers.get(b"x-modelyard-session")
        self.session = _digest(session[:_MAX_SESSION_BYTES].decode("latin-1")) if session else ""
        unit = said.user or headers.get(b"x-modelyard-unit", b"").decode("latin-1")
        self.unit = unit or f"{key.id}:{self.request_id}"
        self.unit_digest = _digest(self.unit)
        self.user = self.unit_digest if said.user else ""
        needs = self.route.chooser.needs
        self.prompt_chars = said.prompt_chars if "prompt_chars" in needs else 0
        if "text" in needs:
            self.text = partial(_text_of, said)

    @property
    def is_late(self) -> bool:
        """Whether a deadline is past by which the caller gave less time than the service has."""
        total_s = self.route.service.timeouts.total_s
        return monotonic() >= self.deadline_s and self.deadline_s < self.started_s + total_s

    def affinity(self) -> int:
        """What sticks to a replica: the session, else the beginning of the conversation."""
        if not self.route.several:
            return 0
        return affinity_key(self.session, *self.said.beginning)


def _find_route(model: str, routes: Routes) -> Route:
    route = routes.services.get(model)
    if route is not None:
        return route
    if not model:
        raise Refusal(400, "missing_model", f"Name a model. There are: {routes.names()}.", param="model")
    message = f"The model '{model[:80]}' does not exist. There are: {routes.names()}."
    raise Refusal(404, "model_not_found", message, param="model")


def _trace_of(traceparent: bytes) -> str:
    """The trace and span of a `traceparent` header (W3C Trace Context), as `trace-span`; empty where it is none."""
    parts = traceparent.split(b"-")
    if len(parts) < 4 or len(parts[1]) != 32 or len(parts[2]) != 16 or not (parts[1] + parts[2]).isalnum():
        return ""
    return f"{parts[1].decode()}-{parts[2].decode()}"


def _digest(text: str) -> str:
    return short(digest_text(text))


def _text_of(said: Said) -> str:
    texts = [texts_in(bytes(said.fields[name]))[0] for name in TEXT_FIELDS if name in said.fields]
    return "\n".join(text for some in texts for text in some)
