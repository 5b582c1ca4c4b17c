"""Answers of chat completions as Responses: whole ones, and streams in OpenAI's order of events."""

import msgspec

from modelyard.core.clock import now_ms
from modelyard.gateway.dialects.chat import NULL, Usage
from modelyard.gateway.dialects.reader import encode
from modelyard.gateway.dialects.translation import Block, BlockKind, Translation
from modelyard.gateway.errors import UpstreamFailed
from modelyard.gateway.guards.filters import AnswerGuard

_INCOMPLETE = {"length": b"max_output_tokens", "content_filter": b"content_filter"}
# What an answer repeats of its request, with OpenAI's own defaults.
_ECHOED = {
    "instructions": b"null",
    "max_output_tokens": b"null",
    "metadata": b"{}",
    "parallel_tool_calls": b"true",
    "reasoning": b'{"effort":null,"summary":null}',
    "temperature": b"null",
    "text": b'{"format":{"type":"text"}}',
    "tool_choice": b'"auto"',
    "tools": b"[]",
    "top_logprobs": b"null",
    "top_p": b"null",
    "user": b"null",
}
_SETTLED = b',"background":false,"previous_response_id":null,"store":false,"truncation":"disabled"'
_PARTS: dict[BlockKind, tuple[bytes, bytes]] = {
    "text": (b'{"type":"output_text","annotations":[],"text":', b',"logprobs":'),
    "refusal": (b'{"type":"refusal","refusal":', b""),
    "thinking": (b'{"type":"reasoning_text","text":', b""),
}
_EVENTS: dict[BlockKind, tuple[bytes, bytes]] = {
    "text": (b"response.output_text", b"text"),
    "refusal": (b"response.refusal", b"refusal"),
    "thinking": (b"response.reasoning_text", b"text"),
    "call": (b"response.function_call_arguments", b"arguments"),
}


class OverChat(Translation):
    """Chat completions told as Responses. `id` and `model` are those that the caller sees, `fields` the request's."""

    __slots__ = ("_created_s", "_head", "_id", "_settings", "_shown_logprobs", "_turn")

    def __init__(
        self, id: str, model: msgspec.Raw, fields: dict[str, msgspec.Raw], guard: AnswerGuard | None = None
    ) -> None:
        super().__init__(guard)
        self._id = id
        self._created_s = now_ms() // 1000
        self._head = b'{"id":%b,"object":"response","created_at":%d,"model":%b' % (
            encode(id),
            self._created_s,
            bytes(model),
        )
        self._settings = _SETTLED + _echo(fields)
        self._shown_logprobs = 0
        self._turn = 0

    def rewrite(self, body: bytes) -> bytes:
        """A whole answer. Raises: UpstreamFailed where it is an error, or no answer."""
        self._take_whole(body)
        return self._response(self._status())

    def fail(self, failure: UpstreamFailed) -> bytes:
        """The event that ends a stream that fails, with what was said so far."""
        code = "rate_limit_exceeded" if failure.status == 429 else "server_error"
        if 400 <= failure.status < 429:
            code = failure.code
        error = encode({"code": code, "message": failure.seen})
        return self._event(b"response.failed", b'"response":' + self._response("failed", error))

    def _start(self) -> bytes:
        response = b'"response":' + self._response("in_progress")
        return self._event(b"response.created", response) + self._event(b"response.in_progress", response)

    def _begin_block(self, block: Block) -> bytes:
        place = b'"item_id":%b,"output_index":%d' % (self._item_id(block), block.index)
        added = b'"output_index":%d,"item":%b' % (block.index, self._item(block, "in_progress", is_new=True))
        out = self._event(b"response.output_item.added", added)
        if block.kind != "call":
            place += b',"content_index":0'
            part = place + b',"part":' + _part(block.kind, "", b"[]")
            out += self._event(b"response.content_part.added", part)
        name = _EVENTS[block.kind][0] + b".delta"
        block.head = b'event: %b\ndata: {"type":"%b",%b,"delta":' % (name, name, place)
        self._shown_logprobs = 0
        return out

    def _add_to_block(self, block: Block, text: str) -> bytes:
        turn, self._turn = self._turn, self._turn + 1
        if block.kind != "text":
            return b'%b%b,"sequence_number":%d}\n\n' % (block.head, encode(text), turn)
        if not block.logprobs:
            return b'%b%b,"logprobs":[],"sequence_number":%d}\n\n' % (block.head, encode(text), turn)
        told = encode(block.logprobs[self._shown_logprobs :])
        self._shown_logprobs = len(block.logprobs)
        return b'%b%b,"logprobs":%b,"sequence_number":%d}\n\n' % (block.head, encode(text), told, turn)

    def _end_block(self, block: Block) -> bytes:
        name, field = _EVENTS[block.kind]
        place = b'"item_id":%b,"output_index":%d' % (self._item_id(block), block.index)
        out = b""
        if block.kind == "call" and not block.text:
            block.parts.append("{}")
            out = self._add_to_block(block, "{}")
        whole = b'"%b":%b' % (field, encode(block.text))
        if block.kind == "call":
            out += self._event(name + b".done", b'%b,"name":%b,%b' % (place, encode(block.name), whole))
        else:
            place += b',"content_index":0'
            logprobs = b',"logprobs":' + encode(block.logprobs) if block.kind == "text" else b""
            out += self._event(name + b".done", place + b"," + whole + logprobs)
            out += self._event(b"response.content_part.done", place + b',"part":' + self._part_of(block))
        item = b'"output_index":%d,"item":%b' % (block.index, self._item(block, self._item_status(block)))
        return out + self._event(b"response.output_item.done", item)

    def _stop(self) -> bytes:
        status = self._status()
        return self._event(b"response." + status.encode(), b'"response":' + self._response(status))

    def _event(self, name: bytes, fields: bytes) -> bytes:
        turn, self._turn = self._turn, self._turn + 1
        return b'event: %b\ndata: {"type":"%b","sequence_number":%d,%b}\n\n' % (name, name, turn, fields)

    def _status(self) -> str:
        return "incomplete" if self.finish_reason in _INCOMPLETE else "completed"

    def _item_status(self, block: Block) -> str:
        """What was cut off is the last block that was begun, or one that is still open when a stream fails."""
        is_cut = not block.is_shut or (
            self.finish_reason in _INCOMPLETE and block is self._blocks[-1] and not self._held
        )
        return "incomplete" if is_cut else "completed"

    def _response(self, status: str, error: bytes = b"null") -> bytes:
        items = b",".join(self._item(block, self._item_status(block)) for block in self._blocks)
        details, ended, usage = b"null", b"null", b"null"
        if status == "incomplete":
            details = b'{"reason":"%b"}' % _INCOMPLETE[self.finish_reason]
        if status == "completed":
            ended = b"%d" % (now_ms() // 1000)
        if status != "in_progress":
            usage = self._usage()
        return b'%b,"status":"%b","completed_at":%b,"error":%b,"incomplete_details":%b,"output":[%b],"usage":%b%b}' % (
            *(self._head, status.encode(), ended, error, details, items, usage, self._settings),
        )

    def _item(self, block: Block, status: str, *, is_new: bool = False) -> bytes:
        id, state = self._item_id(block), status.encode()
        if block.kind == "call":
            head = b'{"id":%b,"type":"function_call","status":"%b","call_id":%b,"name":%b,"arguments":%b}'
            arguments = "" if is_new else block.text or "{}"
            return head % (id, state, encode(block.id), encode(block.name), encode(arguments))
        content = b"" if is_new else self._part_of(block)
        if block.kind == "thinking":
            head = b'{"id":%b,"type":"reasoning","status":"%b","summary":[],"content":[%b]}'
            return head % (id, state, content)
        return b'{"id":%b,"type":"message","status":"%b","role":"assistant","content":[%b]}' % (id, state, content)

    def _part_of(self, block: Block) -> bytes:
        return _part(block.kind, block.text, encode(block.logprobs))

    def _item_id(self, block: Block) -> bytes:
        return encode(f"{self._id}-{block.index}")

    def _usage(self) -> bytes:
        usage = self.usage if self._counted else Usage(completion=self.completion_tokens)
        return encode(
            {
                "input_tokens": usage.prompt,
                "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": usage.cached},
                "output_tokens": usage.completion,
                "output_tokens_details": {"reasoning_tokens": usage.thought},
                "total_tokens": usage.prompt + usage.completion,
            }
        )


def _part(kind: BlockKind, text: str, logprobs: bytes) -> bytes:
    head, tail = _PARTS[kind]
    return head + encode(text) + (tail + logprobs if tail else b"") + b"}"


def _echo(fields: dict[str, msgspec.Raw]) -> bytes:
    """What the request said, where it said it."""
    told = b""
    for name, default in _ECHOED.items():
        raw = fields.get(name, NULL)
        told += b',"%b":%b' % (name.encode(), default if raw == NULL else bytes(raw))
    return told
