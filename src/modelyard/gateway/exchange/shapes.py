"""Shapes: what is read of an engine's answer.

msgspec reads their annotations, which a compiled module does not keep: they stand in a module of their own.
"""

from typing import Annotated, Any

import msgspec

from modelyard.gateway.dialects.chat import NULL


class Said(msgspec.Struct):
    """A message, or a piece of one."""

    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    tool_calls: msgspec.Raw = NULL


class Choice(msgspec.Struct):
    """One of the answers asked for, or a piece of it."""

    index: int = 0
    delta: Said | None = None
    message: Said | None = None
    text: str | None = None
    finish_reason: str | None = None


# More is no count: it would not fit the records.
_Count = Annotated[int, msgspec.Meta(le=1_000_000_000)]


class Usage(msgspec.Struct):
    """The engine's own count."""

    prompt_tokens: _Count = 0
    completion_tokens: _Count | None = None


class Fault(msgspec.Struct):
    """What an engine says went wrong."""

    code: str | int | None = None


class Whole(msgspec.Struct):
    """A whole answer."""

    id: str
    model: str
    choices: list[Choice]
    usage: Usage | None = None


class Chunk(msgspec.Struct):
    """An event of a stream."""

    choices: list[Choice]
    usage: Usage | None = None
    error: msgspec.Raw = NULL
