"""A caller's request: its body checked and taken apart just as far as the gateway needs, and put together for engines.

Values are kept as the bytes they came in, so whatever the gateway does not know passes through untouched.
"""

import msgspec

from modelyard.core.digests import digest_text, short
from modelyard.core.ids import new_id
from modelyard.gateway.errors import Refusal
from modelyard.gateway.table import Kind, Route, Routes, Target
from modelyard.ports.routes import Key

NULL = msgspec.Raw(b"null")

_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode
_SAMPLING = ("temperature", "top_p", "max_tokens")


class _Turn(msgspec.Struct):
    role: str


_turns_of = msgspec.json.Decoder(list[_Turn])


class Call:
    """One request of one caller, checked. `started_s` is the monotonic moment of its arrival."""

    __slots__ = (
        "body",
        "fields",
        "has_system",
        "key",
        "kind",
        "request_id",
        "route",
        "started_s",
        "stream",
        "stream_options",
        "table_version",
        "unit",
        "wants_usage",
    )

    def __init__(self, kind: Kind, body: bytes, routes: Routes, key: Key, request_id: str, started_s: float) -> None:
        self.kind = kind
        self.body = body
        self.key = key
        self.request_id = request_id
        self.started_s = started_s
        self.table_version = routes.table.version
        self.fields = parse_object(body)
        self.route = self._find_route(routes)
        self.stream = self._read_stream()
        self.stream_options = self._read_stream_options()
        self.wants_usage = bytes(self.stream_options.get("include_usage", NULL)) == b"true"
        self.has_system = kind == "chat" and self._find_system()
        self.unit = self._read_user()

    @property
    def unit_digest(self) -> str:
        """The assignment unit as it is recorded."""
        return short(digest_text(self.unit))

    def settle_unit(self, header: bytes | None) -> None:
        """Where the body names no user: the header's unit, else a unit of this request alone."""
        if not self.unit:
            self.unit = header.decode("latin-1") if header else f"{self.key.id}:{new_id()}"

    def body_for(self, target: Target) -> bytes:
        """The request as an engine gets it: its model, its system prompt, its defaults where the caller is silent."""
        fields = self.fields.copy()
        fields["model"] = target.model
        if target.system and self.kind == "chat" and not self.has_system:
            turns = bytes(fields["messages"]).lstrip()
            fields["messages"] = msgspec.Raw(b"[" + target.system + b"," + turns[1:])
        for name in _SAMPLING:
            if fields.get(name, NULL) == NULL:
                fields[name] = target.defaults[name]
        if self.fields.get("max_completion_tokens", NULL) != NULL and self.fields.get("max_tokens", NULL) == NULL:
            del fields["max_tokens"]
        if self.stream and not self.wants_usage:
            options = {**self.stream_options, "include_usage": msgspec.Raw(b"true")}
            fields["stream_options"] = msgspec.Raw(_encode(options))
        return _encode(fields)

    def _find_route(self, routes: Routes) -> Route:
        raw = self.fields.get("model", NULL)
        if raw == NULL:
            raise Refusal(400, "missing_model", f"Name a model. There are: {routes.names()}.", param="model")
        name = _text(raw)
        if name is None:
            raise Refusal(400, "invalid_model", "'model' must be a string.", param="model")
        route = routes.services.get(name)
        if route is None:
            message = f"The model '{name[:80]}' does not exist. There are: {routes.names()}."
            raise Refusal(404, "model_not_found", message, param="model")
        return route

    def _read_stream(self) -> bool:
        raw = bytes(self.fields.get("stream", NULL))
        if raw not in (b"true", b"false", b"null"):
            raise Refusal(400, "invalid_stream", "'stream' must be true or false.", param="stream")
        return raw == b"true"

    def _read_stream_options(self) -> dict[str, msgspec.Raw]:
        raw = self.fields.get("stream_options", NULL)
        if not self.stream or raw == NULL:
            return {}
        try:
            return _fields_of.decode(raw)
        except msgspec.ValidationError:
            message = "'stream_options' must be an object."
            raise Refusal(400, "invalid_stream_options", message, param="stream_options") from None

    def _find_system(self) -> bool:
        try:
            turns = _turns_of.decode(self.fields.get("messages", NULL))
        except msgspec.ValidationError:
            turns = []
        if not turns:
            message = "'messages' must be a list of at least one object, each with a 'role'."
            raise Refusal(400, "invalid_messages", message, param="messages")
        return any(turn.role in ("system", "developer") for turn in turns)

    def _read_user(self) -> str:
        return _text(self.fields.get("user", NULL)) or ""


def parse_object(body: bytes) -> dict[str, msgspec.Raw]:
    """The fields of a JSON object, each as its bytes. Raises: Refusal (400) for anything else."""
    try:
        if not body.isascii():
            body.decode()
        return _fields_of.decode(body)
    except msgspec.ValidationError:
        raise Refusal(400, "invalid_body", "The body must be a JSON object.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"The body is not JSON ({error}). Send a JSON object with 'content-type: application/json'."
        raise Refusal(400, "invalid_json", message) from None


def _text(raw: msgspec.Raw) -> str | None:
    """A JSON string's text, None for anything else."""
    try:
        return msgspec.json.decode(raw, type=str)
    except msgspec.DecodeError:
        return None
