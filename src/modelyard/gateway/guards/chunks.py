"""The filters' view of answers in OpenAI's chat and completions form: whole bodies, and the chunks of streams.

What is not changed stays as it came, byte for byte. Where an answer's texts are filtered, `logprobs` go out as null:
they would tell the tokens of what was covered.
"""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from modelyard.gateway.errors import Refusal
from modelyard.gateway.guards.filters import AnswerGuard
from modelyard.gateway.guards.texts import texts_in, with_texts

_NULL = msgspec.Raw(b"null")
_EMPTY = msgspec.Raw(b"{}")
_ZERO = msgspec.Raw(b"0")
_PARTS = ("content", "reasoning_content", "reasoning", "refusal")
_MAX_ARGUMENTS_CHARS = 1 << 20

_Fields = dict[str, msgspec.Raw]
_Out = TypeVar("_Out", str, list[bytes])

_encode = msgspec.json.Encoder().encode
_fields_of = msgspec.json.Decoder(_Fields)
_choices_of = msgspec.json.Decoder(list[_Fields])
_text_of = msgspec.json.Decoder(str)
_index_of = msgspec.json.Decoder(int)


class _Said(msgspec.Struct):
    content: str | None = None
    reasoning_content: msgspec.Raw = _NULL
    reasoning: msgspec.Raw = _NULL
    refusal: msgspec.Raw = _NULL
    tool_calls: msgspec.Raw = _NULL

    @property
    def more(self) -> bool:
        """Whether there is more than content to look at."""
        return not (self.reasoning_content == self.reasoning == self.refusal == self.tool_calls == _NULL)


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Said | None = None
    finish_reason: str | None = None
    logprobs: msgspec.Raw = _NULL


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []


_chunk_of = msgspec.json.Decoder(_Chunk)


class _Stopped(Exception):
    """A refusal on its way out of a chunk."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


def error_event(refusal: Refusal) -> bytes:
    """What a stream ends with when its content is refused: an SSE event, and the end of the stream."""
    error = {"message": refusal.seen, "type": "invalid_request_error", "param": None, "code": refusal.code}
    return b"data: " + _encode({"error": error}) + b"\n\ndata: [DONE]\n\n"


class ChunkGuard:
    """The chunks of one streamed answer, on their way through the filters."""

    __slots__ = ("_answer", "_arguments", "_last", "_num_chars", "num_pieces")

    def __init__(self, answer: AnswerGuard) -> None:
        self._answer = answer
        # By choice and tool call: arguments are JSON, of no use before they are whole, so they are filtered whole.
        self._arguments: dict[tuple[int, int], list[str]] = {}
        self._num_chars = 0
        self._last = b"{}"
        # Pieces with something in them: the engine made them, whatever of them goes out.
        self.num_pieces = 0

    def feed(self, data: bytes) -> list[bytes] | Refusal:
        """The chunks that go out for one that came in (the JSON behind `data:`).

        One with a choice's `finish_reason` comes behind those with what was held back of the choice's texts.
        """
        try:
            choices = _chunk_of.decode(data).choices
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self._slowly(data)
        if len(choices) != 1:
            return self._slowly(data) if choices else [data]
        choice = choices[0]
        said = choice.delta
        if said is None or choice.finish_reason is not None or choice.logprobs != _NULL or said.more:
            return self._slowly(data)
        text = said.content
        if not text:
            return [data]
        self._last = data
        self.num_pieces += 1
        out = self._answer.feed(choice.index, text)
        if isinstance(out, Refusal):
            return out
        if out == text:
            return [data]
        token = b'"content":' + _encode(text)
        if data.count(token) != 1:
            return [_with_content(data, out)]
        return [data.replace(token, b'"content":' + _encode(out))]

    def finish(self) -> list[bytes] | Refusal:
        """Chunks with what is still held back, for streams that end without a `finish_reason`."""
        rests: list[bytes] = []
        fields = _fields_of.decode(self._last)
        for index in sorted({*self._answer.open_choices(), *(choice for choice, _ in self._arguments)}):
            rest = self._rest(index, fields)
            if isinstance(rest, Refusal):
                return rest
            rests += rest
        return rests

    def _slowly(self, data: bytes) -> list[bytes] | Refusal:
        """Any chunk, by its members. What is no chunk passes: errors, and what engines add of their own."""
        try:
            fields = _fields_of.decode(data)
            choices = _choices_of.decode(fields["choices"])
            self._last = data
            rests: list[bytes] = []
            for choice in choices:
                index = _number(choice)
                ends = choice.get("finish_reason", _NULL) != _NULL
                self._feed(index, choice, ends=ends)
                if ends:
                    rests += _checked(self._rest(index, fields))
        except _Stopped as stopped:
            return stopped.refusal
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
            return [data]
        fields["choices"] = msgspec.Raw(_encode(choices))
        return [*rests, _encode(fields)]

    def _through(self, index: int, text: str, part: str, *, ends: bool) -> str:
        """A piece filtered; with what was held back where it is the text's last."""
        self.num_pieces += bool(text)
        out = _checked(self._answer.feed(index, text, part))
        return out + _checked(self._answer.finish(index, part)) if ends else out

    def _feed(self, index: int, choice: _Fields, *, ends: bool) -> None:
        if "logprobs" in choice:
            choice["logprobs"] = _NULL
        if (text := _string(choice, "text")) is not None:
            choice["text"] = msgspec.Raw(_encode(self._through(index, text, "text", ends=ends)))
        if choice.get("delta", _NULL) == _NULL:
            return
        said = _fields_of.decode(choice["delta"])
        for part in _PARTS:
            if (text := _string(said, part)) is not None:
                said[part] = msgspec.Raw(_encode(self._through(index, text, part, ends=ends)))
        if said.get("tool_calls", _NULL) != _NULL:
            self._take_arguments(index, said)
        choice["delta"] = msgspec.Raw(_encode(said))

    def _take_arguments(self, index: int, said: _Fields) -> None:
        calls = _choices_of.decode(said["tool_calls"])
        for call in calls:
            function = _fields_of.decode(call.get("function", _EMPTY))
            if (text := _string(function, "arguments")) is None:
                continue
            self._arguments.setdefault((index, _number(call)), []).append(text)
            self._num_chars += len(text)
            self.num_pieces += 1
            if self._num_chars > _MAX_ARGUMENTS_CHARS:
                raise _Stopped(Refusal(400, "content_filter", "The answer's tool calls are too long to be checked."))
            function["arguments"] = msgspec.Raw(b'""')
            call["function"] = msgspec.Raw(_encode(function))
        said["tool_calls"] = msgspec.Raw(_encode(calls))

    def _rest(self, index: int, fields: _Fields) -> list[bytes] | Refusal:
        """Chunks like `fields` with what was held back of a choice's texts."""
        rests: list[bytes] = []
        try:
            for part in self._answer.open_parts(index):
                if text := _checked(self._answer.finish(index, part)):
                    said: dict[str, object] = {"text": text} if part == "text" else {"delta": {part: text}}
                    rests.append(_chunk_like(fields, index, said))
            for choice, call in [key for key in self._arguments if key[0] == index]:
                whole = guarded_arguments(self._answer, choice, "".join(self._arguments.pop((choice, call))))
                calls = [{"index": call, "function": {"arguments": whole}}]
                rests.append(_chunk_like(fields, index, {"delta": {"tool_calls": calls}}))
        except _Stopped as stopped:
            return stopped.refusal
        return rests


def guarded_body(answer: AnswerGuard, body: bytes) -> bytes | Refusal:
    """A whole answer's JSON with its texts filtered; what is no answer passes as it is."""
    try:
        fields = _fields_of.decode(body)
        choices = _choices_of.decode(fields["choices"])
        changed = [_guard_choice(answer, place, choice) for place, choice in enumerate(choices)]
    except _Stopped as stopped:
        return stopped.refusal
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        return body
    if not any(changed):
        return body
    fields["choices"] = msgspec.Raw(_encode(choices))
    return _encode(fields)


def guarded_arguments(answer: AnswerGuard, index: int, arguments: str) -> str:
    """A tool call's arguments with the strings in their JSON filtered; as one text where they are no JSON."""
    raw = arguments.encode()
    try:
        msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _whole(answer, index, arguments)
    texts, places = texts_in(raw, all_of_them=True)
    return with_texts(raw, places, texts, [_whole(answer, index, text) for text in texts]).decode()


def _guard_choice(answer: AnswerGuard, place: int, choice: _Fields) -> bool:
    """Filter a choice's texts in its own fields. True where anything of it changed."""
    changed = _replace(choice, "text", lambda text: _whole(answer, place, text))
    if choice.get("logprobs", _NULL) != _NULL:
        choice["logprobs"] = _NULL
        changed = True
    if choice.get("message", _NULL) == _NULL:
        return changed
    said = _fields_of.decode(choice["message"])
    parts = [_replace(said, part, lambda text: _whole(answer, place, text)) for part in _PARTS]
    if any([*parts, _guard_calls(answer, place, said)]):
        choice["message"] = msgspec.Raw(_encode(said))
        return True
    return changed


def _guard_calls(answer: AnswerGuard, place: int, said: _Fields) -> bool:
    if said.get("tool_calls", _NULL) == _NULL:
        return False
    calls = _choices_of.decode(said["tool_calls"])
    changed = False
    for call in calls:
        function = _fields_of.decode(call.get("function", _EMPTY))
        if _replace(function, "arguments", lambda text: guarded_arguments(answer, place, text)):
            call["function"] = msgspec.Raw(_encode(function))
            changed = True
    if changed:
        said["tool_calls"] = msgspec.Raw(_encode(calls))
    return changed


def _replace(fields: _Fields, name: str, filtered: Callable[[str], str]) -> bool:
    text = _string(fields, name)
    if text is None or (new := filtered(text)) == text:
        return False
    fields[name] = msgspec.Raw(_encode(new))
    return True


def _whole(answer: AnswerGuard, index: int, text: str) -> str:
    out = _checked(answer.feed(index, text, "whole"))
    return out + _checked(answer.finish(index, "whole"))


def _checked(out: _Out | Refusal) -> _Out:
    if isinstance(out, Refusal):
        raise _Stopped(out)
    return out


def _string(fields: _Fields, name: str) -> str | None:
    raw = fields.get(name)
    return _text_of.decode(raw) if raw is not None and bytes(raw).startswith(b'"') else None


def _number(fields: _Fields) -> int:
    return _index_of.decode(fields.get("index", _ZERO))


def _with_content(data: bytes, out: str) -> bytes:
    """A chunk of one choice with another piece of content."""
    fields = _fields_of.decode(data)
    (choice,) = _choices_of.decode(fields["choices"])
    said = _fields_of.decode(choice["delta"])
    said["content"] = msgspec.Raw(_encode(out))
    choice["delta"] = msgspec.Raw(_encode(said))
    fields["choices"] = msgspec.Raw(_encode([choice]))
    return _encode(fields)


def _chunk_like(fields: _Fields, index: int, said: dict[str, object]) -> bytes:
    like = {name: raw for name, raw in fields.items() if name != "usage"}
    like["choices"] = msgspec.Raw(_encode([{"index": index, **said, "finish_reason": None}]))
    return _encode(like)
