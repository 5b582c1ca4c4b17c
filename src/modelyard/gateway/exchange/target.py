"""Target: a variant made ready for requests: all that does not change from one to the next is encoded once."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from modelyard.gateway.dialects.dialect import PATHS, TRANSLATED, Fields, fields_for
from modelyard.gateway.dialects.messages.counting import tokenize_request
from modelyard.gateway.dialects.said import Kind, Said
from modelyard.gateway.errors import Refusal
from modelyard.gateway.exchange.confidence import Probe
from modelyard.gateway.guards.caps import cap_max_tokens
from modelyard.gateway.upstream import Pool, parse_origin
from modelyard.gateway.upstream.pool import Line
from modelyard.ports.routes import Price, Variant
from modelyard.ports.sheets import Sheet, sheet_of

Counter = Literal["count_tokens", "tokenize"]
COUNTERS: dict[Counter, str] = {"count_tokens": "/v1/messages/count_tokens", "tokenize": "/tokenize"}
NULL = msgspec.Raw(b"null")
_CHARS_PER_TOKEN = 3.0
_LEARNT_SHARE = 0.1
_MARGIN = 0.75

_encode = msgspec.json.Encoder().encode
_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw])

_MAX_TOKENS: dict[Kind, str] = {
    "chat": "max_tokens",
    "completions": "max_tokens",
    "responses": "max_output_tokens",
    "messages": "max_tokens",
}


class Address:
    """One address of a variant, with the heads of requests to it. `name` is host and port."""

    __slots__ = ("heads", "line", "name")

    def __init__(self, url: str, pool: Pool, credential: bytes, sheet: Sheet) -> None:
        origin, prefix = parse_origin(url)
        self.line: Line = pool.line(origin)
        self.name = origin.name
        lines = f"host: {origin.host_header}\r\ncontent-type: application/json\r\n"
        lines += "accept: application/json, text/event-stream\r\naccept-encoding: identity\r\n"
        lines += "".join(f"{name}: {value}\r\n" for name, value in sheet.headers)
        paths = {kind: sheet.path(kind) for kind in PATHS} | COUNTERS
        self.heads = {
            kind: f"POST {prefix}{path} HTTP/1.1\r\n{lines}".encode() + credential for kind, path in paths.items()
        }


class Target:
    """A variant: what its engines are sent for a caller's request, and what a token costs.

    `over_chat`: the engine is spoken to in chat completions even where it knows the caller's dialect.
    `chars_per_token` is learnt from its answers; it is used for what is reserved, and for the answers whose engine
    never told how long the prompt was. `dearest` and `longest` are the price and the default `max_tokens` to reserve
    by: the highest of this variant and of those that may take over from it.
    """

    __slots__ = (
        "_cap",
        "_endpoints",
        "_model",
        "_system",
        "chars_per_token",
        "counts_apart",
        "dearest",
        "defaults",
        "longest",
        "release_header",
        "variant",
    )

    def __init__(self, variant: Variant, cap: int, *, over_chat: bool = False) -> None:
        self.variant = variant
        sheet = sheet_of(variant.engine)
        endpoints = sheet.endpoints
        self.counts_apart = sheet.counts_apart
        self._endpoints = endpoints - TRANSLATED if over_chat else endpoints
        self.release_header = b"x-modelyard-release: %b\r\n" % variant.ref.encode("latin-1", "replace")
        self.chars_per_token = _CHARS_PER_TOKEN
        self._model = _raw(variant.model)
        self._system = variant.system_prompt
        self._cap = cap
        self.dearest = variant.price
        self.longest = variant.sampling.max_tokens
        sampling = variant.sampling
        self.defaults = {
            "temperature": _raw(sampling.temperature),
            "top_p": _raw(sampling.top_p),
            "max_tokens": _raw(sampling.max_tokens),
        }

    def is_native(self, kind: Kind) -> bool:
        """Whether its engine speaks a dialect itself."""
        return kind not in TRANSLATED or kind in self._endpoints

    def compose(self, said: Said, probe: Probe | None = None) -> tuple[Kind, bytes]:
        """What an engine is sent, and as which kind: its model, its prompt, its defaults where the caller is silent.

        Raises: Refusal (400) for what the engine cannot be told.
        """
        is_native = self.is_native(said.kind)
        if said.kind not in self._endpoints and said.kind not in TRANSLATED:
            message = f"The model behind this service does not answer {PATHS[said.kind]}. Use another model, or path."
            raise Refusal(400, "endpoint_not_supported", message, param="model")
        fields = fields_for(said, is_native=is_native)
        if fields is said.fields:
            fields = fields.copy()
        kind: Kind = said.kind if is_native else "chat"
        fields["model"] = self._model
        if self._system and not said.has_system:
            _put_system(kind, self._system, fields)
        if kind != "embeddings":
            self._fill_in(kind, fields)
        if said.stream and kind in ("chat", "completions") and not said.wants_usage:
            options = fields.get("stream_options", NULL)
            told = {} if options == NULL else _fields_of.decode(options)
            fields["stream_options"] = msgspec.Raw(_encode({**told, "include_usage": True}))
        if probe is not None:
            probe.ask(kind, fields)
        return kind, _encode(fields)

    def compose_count(self, said: Said) -> tuple[Counter, bytes] | None:
        """What an engine is asked for the length of a Messages prompt; None where it cannot tell.

        Raises: Refusal (400) for what the engine cannot be told.
        """
        fields = said.fields.copy()
        if self._system and not said.has_system:
            _put_system("messages", self._system, fields)
        if self.is_native("messages"):
            fields["model"] = self._model
            return "count_tokens", _encode(fields)
        if "messages" not in sheet_of(self.variant.engine).tokenize_takes:
            return None
        return "tokenize", tokenize_request(fields, _encode(fields), self._model)

    def max_output_tokens(self, said: Said) -> int:
        """How many tokens the answers may have in all."""
        if said.kind == "embeddings":
            return 0
        asked = said.max_output_tokens
        if not asked or (said.kind == "completions" and said.fields.get("max_tokens", NULL) == NULL):
            asked = self.longest
        return (min(asked, self._cap) if self._cap else asked) * said.n

    def follow_up(self, others: Iterable[Variant]) -> None:
        """These may answer in this one's place where it fails: what is reserved must do for them too."""
        for other in others:
            price = other.price
            self.dearest = Price(
                input_nanousd=max(self.dearest.input_nanousd, price.input_nanousd),
                output_nanousd=max(self.dearest.output_nanousd, price.output_nanousd),
            )
            self.longest = max(self.longest, other.sampling.max_tokens)

    def prompt_chars(self, said: Said) -> int:
        """How long the prompt is that the engine gets, the release's own with it."""
        return said.prompt_chars if said.has_system else said.prompt_chars + len(self._system)

    def prompt_tokens(self, num_chars: int) -> int:
        """About how many tokens a prompt has, rather more than fewer: for what is reserved."""
        return int(num_chars / (self.chars_per_token * _MARGIN)) + 8

    def answer_tokens(self, text: str) -> int:
        """About how many tokens an answer has whose engine does not tell."""
        return int(len(text) / self.chars_per_token) + 1

    def learn(self, num_chars: int, prompt_tokens: int) -> None:
        """Take in how many tokens a prompt had in truth."""
        if prompt_tokens > 0:
            self.chars_per_token += (num_chars / prompt_tokens - self.chars_per_token) * _LEARNT_SHARE

    def _fill_in(self, kind: Kind, fields: Fields) -> None:
        for name, value in self.defaults.items():
            mine = _MAX_TOKENS[kind] if name == "max_tokens" else name
            if fields.get(mine, NULL) == NULL:
                fields[mine] = value
        if kind == "chat" and fields.get("max_completion_tokens", NULL) != NULL:
            self._keep_newer_name(fields)
        if self._cap:
            cap_max_tokens(fields, self._cap, _MAX_TOKENS[kind])

    def _keep_newer_name(self, fields: Fields) -> None:
        """Of two names for one number, the caller's own."""
        if fields["max_tokens"] is self.defaults["max_tokens"]:
            del fields["max_tokens"]


def _put_system(kind: Kind, text: str, fields: Fields) -> None:
    if kind == "chat":
        turns = bytes(fields["messages"]).lstrip()
        first = _encode({"role": "system", "content": text})
        fields["messages"] = msgspec.Raw(b"[" + first + b"," + turns[1:])
    elif kind == "messages":
        fields["system"] = _raw(text)
    elif kind == "responses":
        fields["instructions"] = _raw(text)


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))
