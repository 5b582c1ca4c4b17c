"""Translation from chat completions: an engine's pieces put in order as blocks, whatever the dialect calls them.

Chat completions may mix text, thoughts and several tool calls in any order; the other dialects tell one block after the
other. A piece that belongs to another block than the open one is shown at once, unless the open one is a call whose
arguments are not whole: then it is held until they are, or until the end.
"""

from contextlib import suppress
from typing import Literal

import msgspec

from modelyard.core.ids import new_id
from modelyard.gateway.dialects.chat import (
    NULL,
    Choice,
    ToolCall,
    Usage,
    decode_answer,
    decode_chunk,
    fault_of,
    read_usage,
)
from modelyard.gateway.dialects.reader import Reader
from modelyard.gateway.errors import Refusal, malformed, refused
from modelyard.gateway.guards.chunks import ChunkGuard, guarded_body
from modelyard.gateway.guards.filters import AnswerGuard

BlockKind = Literal["text", "thinking", "refusal", "call"]


class Block:
    """Part of an answer. `head` is what the dialect's pieces of it begin with; `id` and `name` are those of a call."""

    __slots__ = ("head", "id", "index", "is_shut", "kind", "logprobs", "name", "parts")

    def __init__(self, kind: BlockKind, id: str = "", name: str = "") -> None:
        self.kind = kind
        self.id = id
        self.name = name
        self.parts: list[str] = []
        self.logprobs: list[msgspec.Raw] = []
        self.index = 0
        self.head = b""
        self.is_shut = False

    @property
    def text(self) -> str:
        """All of its pieces."""
        return "".join(self.parts)

    @property
    def is_whole(self) -> bool:
        """Whether it can be followed by another one: a call whose arguments are no JSON yet cannot."""
        return self.kind != "call" or parses(self.text)


class Translation(Reader):
    """An answer in chat completions, told in another dialect. A dialect adds how a block begins, goes on and ends.

    Filters look at what the engine sent, before it is told anew.
    """

    __slots__ = ("_begun", "_blocks", "_calls", "_guard", "_guarded", "_held", "_open", "stop_sequence", "usage")

    def __init__(self, guard: AnswerGuard | None = None) -> None:
        super().__init__()
        self._guard = guard
        self._guarded = ChunkGuard(guard) if guard is not None else None
        self.usage = Usage()
        self.stop_sequence = ""
        self._begun = False
        self._open: Block | None = None
        self._held: list[Block] = []
        self._calls: dict[int, Block] = {}
        self._blocks: list[Block] = []

    def _start(self) -> bytes:
        raise NotImplementedError

    def _begin_block(self, block: Block) -> bytes:
        raise NotImplementedError

    def _add_to_block(self, block: Block, text: str) -> bytes:
        raise NotImplementedError

    def _end_block(self, block: Block) -> bytes:
        raise NotImplementedError

    def _stop(self) -> bytes:
        raise NotImplementedError

    def _take(self, event: bytes, payload: bytes) -> bytes:
        if payload == b"[DONE]":
            self.done = self._finish()
            return b""
        if self._guarded is None:
            return self._take_chunk(payload)
        out = self._take_guarded(self._guarded.feed(payload))
        if not self._counted:
            self.completion_tokens = max(self.completion_tokens, self._guarded.num_pieces)
        return out

    def _take_guarded(self, chunks: list[bytes] | Refusal) -> bytes:
        if isinstance(chunks, Refusal):
            self.refusal = chunks
            self.finish_reason = "content_filter"
            return self._break(refused(chunks))
        return b"".join(self._take_chunk(chunk) for chunk in chunks)

    def _take_chunk(self, payload: bytes) -> bytes:
        try:
            chunk = decode_chunk(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._break(malformed())
        if chunk.error != NULL:
            return self._break(fault_of(chunk.error))
        out = b""
        if chunk.choices is not None and not self._begun:
            self._begun = True
            out = self._start()
        for choice in chunk.choices or ():
            if choice.index == 0:
                out += self._tell(choice)
        self._note_usage(chunk.usage)
        return out

    def _take_whole(self, body: bytes) -> list[Block]:
        """The blocks of a whole answer. Raises: UpstreamFailed where it is none, Refusal where a filter says so."""
        if self._guard is not None:
            guarded = guarded_body(self._guard, body)
            if isinstance(guarded, Refusal):
                self._note_refused(body)
                raise guarded
            body = guarded
        choice, answer = decode_answer(body)
        self._tell(choice)
        self._show_held(at_end=True)
        self._shut()
        self._note_usage(answer.usage)
        return self._blocks

    def _note_refused(self, body: bytes) -> None:
        """The engine has made the answer, so it is paid for."""
        self.finish_reason = "content_filter"
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._note_usage(decode_chunk(body).usage)

    def _finish(self) -> bytes:
        """Everything that is still to be told."""
        out = b"" if self._begun else self._start()
        if self._guarded is not None:
            out += self._take_guarded(self._guarded.finish())
            if self.refusal is not None:
                return out + self.done
        out += self._show_held(at_end=True)
        out += self._shut()
        return out + self._stop()

    def _tell(self, choice: Choice) -> bytes:
        out = b""
        if (said := choice.delta or choice.message) is not None:
            if thought := said.reasoning_content or said.reasoning:
                self._hear("")
                out = self._say("thinking", thought)
            if text := said.text:
                self._hear(text)
                out += self._say("text", text, choice.logprobs.content if choice.logprobs else None)
            if said.refusal:
                self._hear(said.refusal)
                out += self._say("refusal", said.refusal)
            if said.tool_calls:
                self._hear("")
                for call in said.tool_calls:
                    out += self._call(call)
        if choice.finish_reason:
            self.finish_reason = choice.finish_reason
            self.stop_sequence = choice.stop_sequence
        return out

    def _say(self, kind: BlockKind, text: str, logprobs: list[msgspec.Raw] | None = None) -> bytes:
        block = self._open
        if block is None or block.kind != kind:
            block = next((held for held in self._held if held.kind == kind), None) or Block(kind)
        if logprobs:
            block.logprobs.extend(logprobs)
        return self._add(block, text)

    def _call(self, call: ToolCall) -> bytes:
        function = call.function
        name = (function.name if function else "") or ""
        last = len(self._calls) - 1
        index = call.index if call.index is not None else max(0, last + 1 if name else last)
        block = self._calls.get(index)
        if block is None or (name and call.id and block.id and block.id != call.id):
            block = self._calls[index] = Block("call", call.id or "", name)
        else:
            block.id, block.name = block.id or call.id or "", block.name or name
        return self._add(block, function.text if function else "")

    def _add(self, block: Block, text: str) -> bytes:
        if block.is_shut:
            return b""
        block.parts.append(text)
        if block is self._open:
            return self._add_to_block(block, text) if text else b""
        if block not in self._held:
            self._held.append(block)
        return self._show_held()

    def _show_held(self, *, at_end: bool = False) -> bytes:
        out = b""
        while self._held and (at_end or self._open is None or self._open.is_whole):
            block = self._held.pop(0)
            out += self._shut()
            if block.kind == "call" and not block.id:
                block.id = f"call_{new_id()}"
            block.index = len(self._blocks)
            self._blocks.append(block)
            self._open = block
            out += self._begin_block(block)
            if text := block.text:
                out += self._add_to_block(block, text)
        return out

    def _shut(self) -> bytes:
        block, self._open = self._open, None
        if block is None:
            return b""
        block.is_shut = True
        return self._end_block(block)

    def _note_usage(self, raw: msgspec.Raw) -> None:
        if (usage := read_usage(raw)) is not None:
            self.usage = usage
            self._count(usage.prompt, usage.completion)


def parses(text: str) -> bool:
    """Whether a call's arguments are whole."""
    if not text.rstrip().endswith("}"):
        return False
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
