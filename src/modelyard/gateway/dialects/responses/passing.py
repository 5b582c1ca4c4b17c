"""Responses of engines that speak them: their events pass, the id and the model are ours."""

import msgspec

from modelyard.gateway.dialects.chat import NULL
from modelyard.gateway.dialects.passing import Fields, fields_of, open_answer, read_usage, stamp
from modelyard.gateway.dialects.reader import Reader, encode
from modelyard.gateway.dialects.refusals import DECODE_ERRORS
from modelyard.gateway.errors import UpstreamFailed, malformed
from modelyard.gateway.sse import with_data

_ID_LENGTH = 36
ID_SEPARATOR = "."


class _Part(msgspec.Struct):
    type: str | None = None
    text: str | None = None


class _Item(msgspec.Struct):
    type: str | None = None
    content: list[_Part] | None = None


class _Details(msgspec.Struct):
    reason: str | None = None


class _Code(msgspec.Struct):
    code: str | None = None


class _Response(msgspec.Struct):
    id: str = ""
    status: str | None = None
    output: list[_Item] = []
    usage: msgspec.Raw = NULL
    error: _Code | None = None
    incomplete_details: _Details | None = None


class _ResponseEvent(msgspec.Struct):
    type: str
    response: msgspec.Raw = NULL
    delta: msgspec.Raw = NULL
    code: str | None = None


_response_event_of = msgspec.json.Decoder(_ResponseEvent).decode
_response_of = msgspec.json.Decoder(_Response).decode
_text_of = msgspec.json.Decoder(str).decode
_LAST = ("response.completed", "response.incomplete", "response.failed")


class Passing(Reader):
    """An engine's own Responses.

    Where the engine keeps the response, its id is told behind ours (`join_ids`), so that a later request can name it.
    """

    __slots__ = ("_id", "_model", "_stores")

    def __init__(self, id: str, model: msgspec.Raw, *, stores: bool) -> None:
        super().__init__()
        self._id = id
        self._model = model
        self._stores = stores

    def rewrite(self, body: bytes) -> bytes:
        """A whole answer. Raises: UpstreamFailed where it is an error, or no answer."""
        fields = open_answer(body, "output")
        try:
            response = _response_of(body)
        except DECODE_ERRORS:
            raise malformed() from None
        for item in response.output:
            self._hear("".join(part.text or "" for part in item.content or ()) if item.type == "message" else "")
        self._settle(response)
        return self._stamp(fields, response)

    def fail(self, failure: UpstreamFailed) -> bytes:
        """The error event that ends a stream."""
        error = {"type": "error", "code": failure.code, "message": failure.seen, "param": None, "sequence_number": 0}
        return b"event: error\ndata: " + encode(error) + b"\n\n"

    def _take(self, event: bytes, payload: bytes) -> bytes:
        try:
            told = _response_event_of(payload)
            if told.response != NULL:
                return self._take_response(event, payload, told)
            if told.type == "response.output_text.delta":
                self._hear(_text_of(told.delta))
            elif told.type.endswith(".delta"):
                self._hear("")
        except DECODE_ERRORS:
            return b"" if payload == b"[DONE]" else self._break(malformed())
        if told.type == "error":
            self.fault = told.code or "upstream_error"
            self.done = event
            return b""
        return event

    def _take_response(self, event: bytes, payload: bytes, told: _ResponseEvent) -> bytes:
        response = _response_of(told.response)
        fields = fields_of(payload)
        fields["response"] = msgspec.Raw(self._stamp(fields_of(told.response), response))
        out = with_data(event, encode(fields))
        if told.type in _LAST:
            self._settle(response)
            self.done = out
            return b""
        return out

    def _stamp(self, fields: Fields, response: _Response) -> bytes:
        id = join_ids(self._id, response.id) if self._stores else self._id
        return stamp(fields, encode(id), self._model)

    def _settle(self, response: _Response) -> None:
        usage = read_usage(response.usage)
        if usage.input_tokens is not None:
            self._count(max(0, usage.input_tokens), max(0, usage.output_tokens or 0))
        if response.status == "failed":
            self.fault = (response.error.code if response.error else None) or "upstream_error"
        elif response.status == "incomplete":
            reason = response.incomplete_details.reason if response.incomplete_details else None
            self.finish_reason = "content_filter" if reason == "content_filter" else "length"
        else:
            self.finish_reason = "tool_calls" if any(i.type == "function_call" for i in response.output) else "stop"


def join_ids(ours: str, theirs: str) -> str:
    """An id that tells both: what the gateway calls an answer, and what the engine that keeps it does."""
    return f"{ours}{ID_SEPARATOR}{theirs}" if theirs else ours


def their_id(told: str) -> str:
    """The engine's id in one that was told, or the whole where it was not told by a gateway."""
    ours, _, theirs = told.partition(ID_SEPARATOR)
    return theirs if theirs and len(ours) == _ID_LENGTH else told
