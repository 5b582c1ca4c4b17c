"""Answers: an engine's bytes in, the caller's bytes out, with what the journal wants to know noted on the way.

The id becomes the gateway's, the model becomes the service's name; every other field passes as it came.
"""

from typing import Any

import msgspec

from modelyard.gateway.call import NULL
from modelyard.gateway.errors import malformed
from modelyard.gateway.sse import EventSplitter, data_of, with_data

_MAX_EVENT_BYTES = 8 << 20
_NOTHING = (b"null", b"[]")

_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


class _Said(msgspec.Struct):
    """A message, or a piece of one."""

    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    tool_calls: msgspec.Raw = NULL


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Said | None = None
    message: _Said | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Fault(msgspec.Struct):
    code: str | int | None = None


_choices_of = msgspec.json.Decoder(list[_Choice])
_usage_of = msgspec.json.Decoder(_Usage | None)
_fault_of = msgspec.json.Decoder(_Fault)


class Answer:
    """One answer as it arrives. `text` is that of the first choice.

    `completion_tokens` counts the pieces heard until the engine tells the number, so an answer that was broken off
    still has one.
    """

    __slots__ = (
        "_counted",
        "_id",
        "_model",
        "_parts",
        "_show_usage",
        "completion_tokens",
        "fault",
        "finish_reason",
        "prompt_tokens",
        "spoke",
    )

    def __init__(self, id: str, model: msgspec.Raw, *, show_usage: bool) -> None:
        self._id = msgspec.Raw(_encode(id))
        self._model = model
        self._show_usage = show_usage
        self._parts: list[str] = []
        self._counted = False
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.finish_reason = ""
        self.fault = ""
        self.spoke = False

    @property
    def text(self) -> str:
        """What was said so far."""
        return "".join(self._parts)

    def rewrite(self, body: bytes) -> bytes:
        """A whole answer for the caller. Raises: UpstreamFailed where it is no answer."""
        try:
            fields = _fields_of.decode(body)
            choices = _choices_of.decode(fields["choices"])
        except (msgspec.DecodeError, KeyError, UnicodeDecodeError):
            raise malformed() from None
        self._note_choices(choices)
        self._note_usage(fields.get("usage", NULL))
        return self._stamp(fields)

    def rewrite_chunk(self, data: bytes) -> bytes | None:
        """A chunk's JSON for the caller; None for one that the caller did not ask for; as it came where it is none."""
        try:
            fields = _fields_of.decode(data)
            choices = _choices_of.decode(fields["choices"])
        except KeyError:
            self._note_fault(fields)
            return data
        except (msgspec.DecodeError, UnicodeDecodeError):
            return data
        usage = fields.get("usage", NULL)
        if self._note_choices(choices) and not self._counted:
            self.completion_tokens += 1
        self._note_usage(usage)
        if not self._show_usage:
            if usage != NULL and not choices:
                return None
            if usage == NULL:
                fields.pop("usage", None)
        return self._stamp(fields)

    def _stamp(self, fields: dict[str, msgspec.Raw]) -> bytes:
        fields["id"] = self._id
        fields["model"] = self._model
        return _encode(fields)

    def _note_choices(self, choices: list[_Choice]) -> bool:
        heard = False
        for choice in choices:
            said = choice.delta or choice.message
            text = choice.text or (said.content if said else None)
            if text or (said and (said.reasoning_content or bytes(said.tool_calls) not in _NOTHING)):
                heard = True
            if choice.index == 0:
                if isinstance(text, str):
                    self._parts.append(text)
                self.finish_reason = choice.finish_reason or self.finish_reason
        self.spoke = self.spoke or heard
        return heard

    def _note_usage(self, raw: msgspec.Raw) -> None:
        if raw == NULL:
            return
        try:
            usage = _usage_of.decode(raw)
        except msgspec.DecodeError:
            return
        if usage is not None:
            self._counted = True
            self.prompt_tokens = max(0, usage.prompt_tokens)
            self.completion_tokens = max(0, usage.completion_tokens)

    def _note_fault(self, fields: dict[str, msgspec.Raw]) -> None:
        if "error" in fields:
            try:
                self.fault = str(_fault_of.decode(fields["error"]).code or "upstream_error")
            except msgspec.DecodeError:
                self.fault = "upstream_error"


class Stream:
    """A streamed answer: an engine's bytes in, the caller's bytes out. `done` holds the final event once it came."""

    __slots__ = ("_splitter", "answer", "done")

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.done = b""
        self._splitter = EventSplitter()

    def feed(self, data: bytes) -> bytes:
        """What the caller gets for these bytes: whole events alone. Raises: UpstreamFailed for an endless one."""
        out = []
        for event in self._splitter.feed(data):
            if self.done:
                break
            payload = data_of(event)
            if payload == b"[DONE]":
                self.done = event
            elif payload is None:
                out.append(event)
            elif (chunk := self.answer.rewrite_chunk(payload)) is not None:
                out.append(event if chunk is payload else with_data(event, chunk))
        if len(self._splitter.rest) > _MAX_EVENT_BYTES:
            raise malformed()
        return b"".join(out)
