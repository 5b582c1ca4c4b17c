"""Messages of engines that speak them: their events pass, the id and the model are ours."""

import msgspec

from modelyard.gateway.dialects.chat import NULL
from modelyard.gateway.dialects.messages.errors import error_event
from modelyard.gateway.dialects.passing import fields_of, open_answer, read_usage, stamp
from modelyard.gateway.dialects.reader import Reader, encode
from modelyard.gateway.dialects.refusals import DECODE_ERRORS
from modelyard.gateway.errors import UpstreamFailed, malformed
from modelyard.gateway.sse import with_data


class _Block(msgspec.Struct):
    type: str | None = None
    text: str | None = None


class _Delta(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _MessageEvent(msgspec.Struct):
    type: str
    message: msgspec.Raw = NULL
    delta: _Delta | None = None
    usage: msgspec.Raw = NULL
    error: msgspec.Raw = NULL


class _Message(msgspec.Struct):
    content: list[_Block] = []
    stop_reason: str | None = None
    usage: msgspec.Raw = NULL


class _Kind(msgspec.Struct):
    type: str | None = None


_message_event_of = msgspec.json.Decoder(_MessageEvent).decode
_message_of = msgspec.json.Decoder(_Message).decode
_kind_of = msgspec.json.Decoder(_Kind).decode
_FINISH = {"max_tokens": "length", "tool_use": "tool_calls", "refusal": "content_filter"}
_FINISH["model_context_window_exceeded"] = "length"


class Passing(Reader):
    """An engine's own Messages."""

    __slots__ = ("_id", "_model", "_request_id")

    def __init__(self, id: str, model: msgspec.Raw, *, request_id: str = "") -> None:
        super().__init__()
        self._id = encode(id)
        self._model = model
        self._request_id = request_id

    def rewrite(self, body: bytes) -> bytes:
        """A whole answer. Raises: UpstreamFailed where it is an error, or no answer."""
        fields = open_answer(body, "content")
        try:
            message = _message_of(body)
        except DECODE_ERRORS:
            raise malformed() from None
        for block in message.content:
            self._hear(block.text or "" if block.type == "text" else "")
        self._note_stop(message.stop_reason)
        self._note(message.usage, is_final=True)
        return stamp(fields, self._id, self._model)

    def fail(self, failure: UpstreamFailed) -> bytes:
        """The error event that ends a stream."""
        return error_event(failure.status, failure.seen, self._request_id)

    def _take(self, event: bytes, payload: bytes) -> bytes:
        try:
            told = _message_event_of(payload)
            if told.type == "message_start":
                self._note(_message_of(told.message).usage, is_final=False)
                stamped = stamp(fields_of(told.message), self._id, self._model)
                fields = fields_of(payload)
                fields["message"] = msgspec.Raw(stamped)
                return with_data(event, encode(fields))
        except DECODE_ERRORS:
            return b"" if payload == b"[DONE]" else self._break(malformed())
        if told.type == "content_block_delta":
            delta = told.delta or _Delta()
            self._hear(delta.text or "")
        elif told.type == "message_delta":
            self._note_stop(told.delta.stop_reason if told.delta else None)
            self._note(told.usage, is_final=True)
        elif told.type == "error":
            self.fault = _kind(told.error)
            self.done = event
            return b""
        elif told.type == "message_stop":
            self.done = event
            return b""
        return event

    def _note_stop(self, reason: str | None) -> None:
        if reason:
            self.finish_reason = _FINISH.get(reason, "stop")

    def _note(self, raw: msgspec.Raw, *, is_final: bool) -> None:
        """`message_start` tells the prompt's tokens, `message_delta` the answer's, and perhaps the prompt's again."""
        usage = read_usage(raw)
        if usage.input_tokens is not None:
            cached = (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0)
            self.prompt_tokens = max(0, usage.input_tokens + cached)
        if is_final and usage.output_tokens is not None:
            self._count(self.prompt_tokens, max(0, usage.output_tokens))


def _kind(raw: msgspec.Raw) -> str:
    try:
        return _kind_of(raw).type or "upstream_error"
    except msgspec.DecodeError:
        return "upstream_error"
