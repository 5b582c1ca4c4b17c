"""What the gateway wants to know of a request, whatever its dialect: read in one pass, and checked on the way.

Only what is certainly wrong is refused. Fields that are not named here are never looked at: they pass as they came.
"""

import re
from typing import Any, Literal

import msgspec

from modelyard.gateway.dialects import shapes
from modelyard.gateway.dialects.chat import NULL
from modelyard.gateway.dialects.refusals import DECODE_ERRORS, refuse
from modelyard.gateway.errors import Refusal

Kind = Literal["chat", "completions", "embeddings", "responses", "messages"]

# Base64 of more than this is an image, a sound or a file, which engines do not count by its letters.
_ENCODED = re.compile(rb'(?:;base64,|"data"\s*:\s*")([A-Za-z0-9+/=_\\-]{512,})')
_CHARS_PER_FILE = 4000


_TYPES: dict[Kind, Any] = {
    "chat": shapes.Chat,
    "completions": shapes.Completions,
    "embeddings": shapes.Embeddings,
    "responses": shapes.Responses,
    "messages": shapes.Messages,
}
_decoders = {kind: msgspec.json.Decoder(type).decode for kind, type in _TYPES.items()}
# The fields that the prompt is made of, and the one that there must be.
_PROMPTS: dict[Kind, tuple[str, ...]] = {
    "chat": ("messages", "tools"),
    "completions": ("prompt",),
    "embeddings": ("input",),
    "responses": ("input", "instructions", "tools"),
    "messages": ("messages", "system", "tools"),
}
_SYSTEM_ROLES = ("system", "developer")
_OWN_TOOLS = (None, "function", "custom")

_encode = msgspec.json.Encoder().encode
_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_list_of = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Said:
    """A request, checked. `fields` holds every field as the bytes it came in.

    `model` and `user` are empty where the request names none, `temperature` is None and `max_output_tokens` 0. `n`
    counts the answers asked for (those of several prompts, and those thrown away by `best_of`, too). `previous` is the
    response that this one goes on from. `has_hosted_tools`: whether the engine may act on its own.
    """

    __slots__ = (
        "_prompt_chars",
        "body",
        "fields",
        "has_hosted_tools",
        "has_system",
        "kind",
        "max_output_tokens",
        "model",
        "n",
        "previous",
        "stores",
        "stream",
        "temperature",
        "user",
        "wants_usage",
    )

    def __init__(self, kind: Kind, body: bytes) -> None:
        self.kind = kind
        self.body = body
        self._prompt_chars = -1
        self.n = 1
        self.max_output_tokens = 0
        self.previous = ""
        self.has_system = self.has_hosted_tools = self.wants_usage = self.stores = False
        try:
            if not body.isascii():
                body.decode()
            self.fields = _fields_of(body)
            said = _decoders[kind](body)
        except DECODE_ERRORS as error:
            raise refuse(error) from None
        self.model: str = said.model or ""
        self.stream: bool = said.stream or False
        self.user: str = said.user or ""
        self.temperature: float | None = said.temperature
        _READERS[kind](self, said)

    def cover(self) -> None:
        """Take the fields for the whole request, after texts in them were covered: nobody may see the others again."""
        self.body = _encode(self.fields)

    @property
    def prompt_chars(self) -> int:
        """About how many characters the prompt has: its JSON's bytes, files in it at a fixed number each."""
        if self._prompt_chars < 0:
            self._prompt_chars = self._count_prompt()
        return self._prompt_chars

    def _count_prompt(self) -> int:
        count = 0
        for name in _PROMPTS[self.kind]:
            raw = self.fields.get(name)
            if raw is not None:
                count += _count(bytes(raw))
        return count

    @property
    def beginning(self) -> tuple[bytes, ...]:
        """What a conversation begins with and keeps: its system prompt, its tools, its first turns."""
        first, *others = (bytes(self.fields.get(name, b"")) for name in _PROMPTS[self.kind])
        if first[:1] == b"[":
            return (*(bytes(turn) for turn in _list_of(first)[:2]), *others)
        return (first, *others)

    @property
    def last_turn(self) -> bytes:
        """The last message or item as its bytes: what a caller that goes in circles sends again and again."""
        raw = self.fields.get(_PROMPTS[self.kind][0], NULL)
        if not bytes(raw).startswith(b"["):
            return bytes(raw)
        turns = _list_of(raw)
        return bytes(turns[-1]) if turns else b""

    def is_deterministic(self, temperature: float = 1.0) -> bool:
        """Whether an equal request may get an equal answer; `temperature` is the release's own."""
        if self.kind == "embeddings":
            return True
        asked = temperature if self.temperature is None else self.temperature
        return asked == 0 and self.n == 1 and not (self.has_hosted_tools or self.previous)


def _count(raw: bytes) -> int:
    count = len(raw)
    # Only a message that is made of parts, each with its type, can hold a file.
    if b'"type"' not in raw or (b"base64" not in raw and b'"data"' not in raw):
        return count
    for found in _ENCODED.finditer(raw):
        count += _CHARS_PER_FILE - len(found[1])
    return count


def _missing(name: str, what: str) -> Refusal:
    return Refusal(400, f"invalid_{name}", f"'{name}' must be {what}.", param=name)


def _read_chat(said: Said, read: shapes.Chat) -> None:
    if not read.messages:
        raise _missing("messages", "a list of at least one object, each with a 'role'")
    said.has_system = any(turn.role in _SYSTEM_ROLES for turn in read.messages)
    # Engines differ in which of the two they obey: what is reserved is enough for either.
    said.max_output_tokens = max(read.max_tokens or 0, read.max_completion_tokens or 0)
    said.n = read.n or 1
    said.wants_usage = read.stream_options is not None and read.stream_options.include_usage is True
    said.has_hosted_tools = read.web_search_options != NULL or _are_hosted(read.tools)


def _read_completions(said: Said, read: shapes.Completions) -> None:
    said.max_output_tokens = 16 if read.max_tokens is None else read.max_tokens
    prompts = _num_prompts(read.prompt)
    said.n = max(read.n or 1, read.best_of or 1) * prompts
    said.wants_usage = read.stream_options is not None and read.stream_options.include_usage is True


def _read_embeddings(said: Said, read: shapes.Embeddings) -> None:
    if read.input == NULL:
        raise _missing("input", "a text, or a list of them")
    if said.stream:
        raise _missing("stream", "left out: embeddings are not streamed")


def _read_responses(said: Said, read: shapes.Responses) -> None:
    said.max_output_tokens = read.max_output_tokens or 0
    said.user = said.user or read.safety_identifier or ""
    said.previous = read.previous_response_id or ""
    said.stores = read.store is not False
    said.has_system = said.fields.get("instructions", NULL) != NULL
    said.has_hosted_tools = bool(read.background) or _are_hosted(read.tools)


def _read_messages(said: Said, read: shapes.Messages) -> None:
    if not read.messages:
        raise _missing("messages", "a list of at least one object, each with a 'role'")
    said.max_output_tokens = read.max_tokens or 0
    said.user = (read.metadata.user_id if read.metadata else None) or ""
    said.has_system = said.fields.get("system", NULL) != NULL
    said.has_hosted_tools = _are_hosted(read.tools)


_READERS: dict[Kind, Any] = {
    "chat": _read_chat,
    "completions": _read_completions,
    "embeddings": _read_embeddings,
    "responses": _read_responses,
    "messages": _read_messages,
}


def _are_hosted(tools: list[shapes.Tool] | None) -> bool:
    return bool(tools) and any(tool.type not in _OWN_TOOLS for tool in tools or ())


def _num_prompts(raw: msgspec.Raw) -> int:
    """Several prompts come as a list of texts or of lists of tokens; a list of numbers is one prompt."""
    if not bytes(raw).startswith(b"["):
        return 1
    prompts = _list_of(raw)
    return len(prompts) if prompts and bytes(prompts[0]).startswith((b'"', b"[")) else 1
