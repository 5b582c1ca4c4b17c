"""Answers as they are kept and given again: whole ones as streams, streams as whole ones, each under a new id.

An answer is kept as the bytes that its caller got, and taken apart only when it is asked for again.
"""

from typing import Any

import msgspec

from modelyard.gateway.cache.plan import Endpoint
from modelyard.gateway.sse import EventSplitter, data_of

# What an answer ended with that may be given again. `length` is safe too: the key holds the limit it ran into.
KEPT_REASONS = ("stop", "length")
_OVERHEAD_BYTES = 512
_DONE = b"data: [DONE]\n\n"
_OBJECTS: dict[Endpoint, tuple[str, str]] = {
    "chat": ("chat.completion", "chat.completion.chunk"),
    "completions": ("text_completion", "text_completion"),
}
_OF_CHOICES = ("id", "object", "choices", "usage")
_CALLS = ("tool_calls", "function_call")

_encode = msgspec.json.encode
_object_of = msgspec.json.Decoder(dict[str, Any]).decode


class Unusable(Exception):
    """What was kept is no answer that may be given again."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that has just been given, for `ServiceCache.store`.

    `body` is what the caller got, `id` the id in it; of a stream all its bytes. `seconds` is how long it took.
    """

    id: str
    body: bytes
    streamed: bool
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_nanousd: int = 0
    seconds: float = 0.0


class Entry:
    """One answer, kept since `stored_s` (monotonic). `size` in bytes stands for all that it will take.

    `open` takes it apart when it is first asked for: `whole`, `events` and `usage` are then its bytes, cut where the id
    stands, and `text` is what it says.
    """

    __slots__ = ("endpoint", "events", "is_open", "kept", "size", "stored_s", "text", "usage", "whole")

    def __init__(self, endpoint: Endpoint, kept: Kept, stored_s: float) -> None:
        self.endpoint = endpoint
        self.kept = kept
        self.stored_s = stored_s
        self.size = len(kept.body) * (1 if endpoint == "embeddings" else 3) + _OVERHEAD_BYTES
        self.is_open = False
        self.text = ""
        self.whole: list[bytes] = []
        self.events: list[bytes] = []
        self.usage: list[bytes] = []

    def open(self) -> None:
        """Make it ready to be given again. Raises: Unusable, where it turns out to be no answer that may be."""
        if self.is_open:
            return
        if self.endpoint == "embeddings":
            self.whole = self._cut(self.kept.body)
        else:
            said = _Said(self.endpoint, self.kept)
            self.text = said.text
            self.whole, self.events, self.usage = (self._cut(data) for data in (said.whole(), *said.stream()))
        self.kept = msgspec.structs.replace(self.kept, body=b"")
        self.is_open = True

    def _cut(self, data: bytes) -> list[bytes]:
        return data.split(self.kept.id.encode()) if self.kept.id else [data]


class Hit:
    """An answer from the cache. `kind` is as it is recorded; `similarity` is 1 for equal requests."""

    __slots__ = ("age_s", "entry", "kind", "similarity")

    def __init__(self, entry: Entry, age_s: float, kind: str = "exact", similarity: float = 1.0) -> None:
        self.entry = entry
        self.age_s = age_s
        self.kind = kind
        self.similarity = similarity

    @property
    def kept(self) -> Kept:
        """The answer's tokens, its finish reason, and what it cost: what this hit has saved."""
        return self.entry.kept

    @property
    def text(self) -> str:
        """The answer's text."""
        return self.entry.text

    def body(self, id: str) -> bytes:
        """The whole answer under an id of its own."""
        return id.encode().join(self.entry.whole)

    def stream(self, id: str, *, usage: bool) -> bytes:
        """The stream, from its first event to `[DONE]`, under an id of its own; with the usage where it was asked."""
        own = id.encode()
        events = own.join(self.entry.events)
        return b"%b%b%b" % (events, own.join(self.entry.usage), _DONE) if usage else events + _DONE


class _Said:
    """An answer taken apart: what stands on every chunk, the chunks of its only choice, its usage, its text."""

    __slots__ = ("_body", "chunks", "endpoint", "finish_reason", "head", "kept", "message", "text", "usage")

    def __init__(self, endpoint: Endpoint, kept: Kept) -> None:
        self.endpoint = endpoint
        self.kept = kept
        self.finish_reason = kept.finish_reason
        self.head: dict[str, Any] = {}
        self.message: dict[str, Any] = {}
        self.chunks: list[dict[str, Any]] = []
        total = kept.prompt_tokens + kept.completion_tokens
        self.usage: Any = {
            "prompt_tokens": kept.prompt_tokens, "completion_tokens": kept.completion_tokens, "total_tokens": total
        }  # fmt: skip
        self._body = b"" if kept.streamed else kept.body
        self.text = ""
        try:
            self._read_stream() if kept.streamed else self._read_whole()
        except (msgspec.DecodeError, UnicodeDecodeError, LookupError, TypeError, AttributeError, ValueError) as error:
            raise Unusable from error
        self.text = self.message.get("content" if endpoint == "chat" else "text") or ""
        if self.finish_reason not in KEPT_REASONS or any(self.message.get(name) for name in _CALLS):
            raise Unusable

    def whole(self) -> bytes:
        """The answer in one piece."""
        if self._body:
            return self._body
        if self.endpoint == "chat":
            choice = {"index": 0, "message": {"role": "assistant", **self.message}}
        else:
            choice = {"index": 0, **self.message}
        choice |= {"logprobs": None, "finish_reason": self.finish_reason}
        return self._encoded(0, [choice], usage=self.usage)

    def stream(self) -> tuple[bytes, bytes]:
        """The answer as events, and the event that tells its usage."""
        events = b"".join([b"data: %b\n\n" % self._encoded(1, [chunk]) for chunk in self.chunks])
        return events, b"data: %b\n\n" % self._encoded(1, [], usage=self.usage)

    def _encoded(self, form: int, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return _encode(
            {"id": self.kept.id, "object": _OBJECTS[self.endpoint][form], **self.head, "choices": choices, **more}
        )

    def _read_whole(self) -> None:
        answer = _object_of(self.kept.body)
        (choice,) = answer["choices"]
        self._note_head(answer)
        self.finish_reason = choice["finish_reason"]
        last = {"index": 0, "logprobs": None, "finish_reason": self.finish_reason}
        logprobs = choice.get("logprobs")
        if self.endpoint == "completions":
            self.message = {"text": choice["text"]}
            self.chunks = [{"index": 0, **self.message, "logprobs": logprobs, "finish_reason": None}]
            self.chunks.append({**last, "text": ""})
            return
        self.message = {name: value for name, value in choice["message"].items() if name != "role"}
        said = {name: value for name, value in self.message.items() if value is not None and value != []}
        first = {"role": "assistant", "content": ""}
        deltas = [(first, None), (said, logprobs)] if said else [(first, None)]
        self.chunks = [{"index": 0, "delta": d, "logprobs": p, "finish_reason": None} for d, p in deltas]
        self.chunks.append({**last, "delta": {}})

    def _read_stream(self) -> None:
        done = False
        for event in EventSplitter().feed(self.kept.body):
            payload = data_of(event)
            if payload is None:
                continue
            if payload == b"[DONE]":
                done = True
                break
            chunk = _object_of(payload)
            if "error" in chunk:
                raise Unusable
            if not self.head:
                self._note_head(chunk)
            if chunk.get("usage"):
                self.usage = chunk["usage"]
            for choice in chunk["choices"]:
                self._note_choice(choice)
        if not done:
            raise Unusable

    def _note_head(self, answer: dict[str, Any]) -> None:
        self.head = {name: value for name, value in answer.items() if name not in _OF_CHOICES}
        self.usage = answer.get("usage") or self.usage

    def _note_choice(self, choice: dict[str, Any]) -> None:
        if choice.get("index", 0) != 0:
            raise Unusable
        self.chunks.append(choice)
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        said = choice["delta"] if self.endpoint == "chat" else {"text": choice["text"]}
        for name, value in said.items():
            if isinstance(value, str) and name != "role":
                self.message[name] = (self.message.get(name) or "") + value
            elif value and name != "role":
                # Calls of tools, annotations and the like come in parts that only their own rules put together.
                raise Unusable
        if self.endpoint == "chat":
            self.message.setdefault("content", "")
