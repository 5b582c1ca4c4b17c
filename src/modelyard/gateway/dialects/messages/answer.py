"""Answers of chat completions as Messages: whole ones, and streams in Anthropic's order of events."""

import msgspec

from modelyard.gateway.dialects.chat import Usage
from modelyard.gateway.dialects.messages.errors import error_event
from modelyard.gateway.dialects.reader import encode
from modelyard.gateway.dialects.translation import Block, BlockKind, Translation
from modelyard.gateway.errors import UpstreamFailed
from modelyard.gateway.guards.filters import AnswerGuard

PING = b'event: ping\ndata: {"type":"ping"}\n\n'

_STOP_REASONS = {
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_EMPTY = {
    "text": b'{"type":"text","text":""}',
    "refusal": b'{"type":"text","text":""}',
    "thinking": b'{"type":"thinking","thinking":"","signature":""}',
}
_DELTAS: dict[BlockKind, bytes] = {
    "text": b'{"type":"text_delta","text":',
    "refusal": b'{"type":"text_delta","text":',
    "thinking": b'{"type":"thinking_delta","thinking":',
    "call": b'{"type":"input_json_delta","partial_json":',
}


class OverChat(Translation):
    """Chat completions told as Messages. `id` and `model` are those that the caller sees.

    Thoughts are told only where `show_thinking` is set; in a stream a ping stands for each of the others, so that the
    connection is seen to live. Of the `stop_sequences` asked for, the one that was met is told where the engine tells.
    """

    __slots__ = ("_id", "_is_pinged", "_model", "_refused", "_request_id", "_show_thinking", "_stops")

    def __init__(
        self,
        id: str,
        model: msgspec.Raw,
        *,
        request_id: str = "",
        show_thinking: bool = False,
        stop_sequences: tuple[str, ...] = (),
        guard: AnswerGuard | None = None,
    ) -> None:
        super().__init__(guard)
        self._id = encode(id)
        self._model = model
        self._request_id = request_id
        self._show_thinking = show_thinking
        self._stops = stop_sequences
        self._is_pinged = False
        self._refused = False

    def rewrite(self, body: bytes) -> bytes:
        """A whole answer. Raises: UpstreamFailed where it is an error, or no answer."""
        content = b",".join(_content(block) for block in self._take_whole(body))
        return self._message(content, self._stop_reason(), self._usage())

    def fail(self, failure: UpstreamFailed) -> bytes:
        """The error event that ends a stream."""
        return error_event(failure.status, failure.seen, self._request_id)

    def _say(self, kind: BlockKind, text: str, logprobs: list[msgspec.Raw] | None = None) -> bytes:
        if kind == "thinking" and not self._show_thinking:
            return PING
        self._refused = self._refused or kind == "refusal"
        return super()._say(kind, text)

    def _start(self) -> bytes:
        message = self._message(b"", b'"stop_reason":null,"stop_sequence":null', self._usage())
        return b'event: message_start\ndata: {"type":"message_start","message":' + message + b"}\n\n"

    def _begin_block(self, block: Block) -> bytes:
        empty = _EMPTY.get(block.kind) or _call(block, b"{}")
        block.head = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b' % (
            block.index,
            _DELTAS[block.kind],
        )
        start = b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":%b}\n\n'
        ping = b"" if self._is_pinged else PING
        self._is_pinged = True
        return start % (block.index, empty) + ping

    def _add_to_block(self, block: Block, text: str) -> bytes:
        return block.head + encode(text) + b"}}\n\n"

    def _end_block(self, block: Block) -> bytes:
        return b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n' % block.index

    def _stop(self) -> bytes:
        delta = b'event: message_delta\ndata: {"type":"message_delta","delta":{%b},"usage":%b}\n\n'
        end = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
        return delta % (self._stop_reason(), self._usage()) + end

    def _message(self, content: bytes, stop: bytes, usage: bytes) -> bytes:
        head = b'{"id":' + self._id + b',"type":"message","role":"assistant","model":' + bytes(self._model)
        return head + b',"content":[' + content + b"]," + stop + b',"usage":' + usage + b"}"

    def _stop_reason(self) -> bytes:
        """An engine that ends a call with `stop` means a call all the same."""
        reason = _STOP_REASONS.get(self.finish_reason, "end_turn")
        if reason == "end_turn" and self._refused:
            reason = "refusal"
        elif reason == "end_turn" and self._calls:
            reason = "tool_use"
        elif reason == "end_turn" and self.stop_sequence in self._stops:
            return b'"stop_reason":"stop_sequence","stop_sequence":' + encode(self.stop_sequence)
        return b'"stop_reason":"%b","stop_sequence":null' % reason.encode()

    def _usage(self) -> bytes:
        """Tokens as Anthropic counts them: those read from a cache are no input tokens."""
        usage = self.usage if self._counted else Usage(completion=self.completion_tokens)
        fields = b'{"input_tokens":%d,"cache_creation_input_tokens":0,"cache_read_input_tokens":%d,"output_tokens":%d}'
        return fields % (usage.prompt - usage.cached, usage.cached, usage.completion)


def _content(block: Block) -> bytes:
    text = block.text
    if block.kind == "thinking":
        return b'{"type":"thinking","thinking":' + encode(text) + b',"signature":""}'
    if block.kind == "call":
        return _call(block, _input(text))
    return b'{"type":"text","text":' + encode(text) + b"}"


def _call(block: Block, input: bytes) -> bytes:
    return b'{"type":"tool_use","id":%b,"name":%b,"input":%b}' % (encode(block.id), encode(block.name), input)


def _input(text: str) -> bytes:
    """A call's arguments as an object; what is none (cut off, or badly made) is told as Anthropic's guide tells it."""
    if not text.strip():
        return b"{}"
    try:
        arguments = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError):
        return encode({"INVALID_JSON": text})
    return encode(arguments)
