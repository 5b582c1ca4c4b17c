"""Shapes: what is read of a request of each dialect.

msgspec reads their annotations, which a compiled module does not keep: they stand in a module of their own.
"""

from typing import Annotated

import msgspec

from modelyard.gateway.dialects.chat import NULL

_AtLeast0 = Annotated[int, msgspec.Meta(ge=0)]
_AtLeast1 = Annotated[int, msgspec.Meta(ge=1)]
_Temperature = Annotated[float, msgspec.Meta(ge=0)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Turn(msgspec.Struct):
    """A message."""

    role: str


class Tool(msgspec.Struct):
    """A tool that the model may call."""

    type: str | None = None


class StreamOptions(msgspec.Struct):
    """What a stream is to bring."""

    include_usage: bool | None = None


class Metadata(msgspec.Struct):
    """What Anthropic's callers say of themselves."""

    user_id: str | None = None


class Shared(msgspec.Struct):
    """What all requests may say."""

    model: str | None = None
    stream: bool | None = None
    user: str | None = None
    temperature: _Temperature | None = None
    top_p: _Share | None = None


class Chat(Shared):
    """A request to /v1/chat/completions."""

    messages: list[Turn] | None = None
    max_tokens: _AtLeast0 | None = None
    max_completion_tokens: _AtLeast0 | None = None
    n: _AtLeast1 | None = None
    tools: list[Tool] | None = None
    stream_options: StreamOptions | None = None
    web_search_options: msgspec.Raw = NULL


class Completions(Shared):
    """A request to /v1/completions."""

    prompt: msgspec.Raw = NULL
    max_tokens: _AtLeast0 | None = None
    n: _AtLeast1 | None = None
    best_of: _AtLeast1 | None = None
    stream_options: StreamOptions | None = None


class Embeddings(Shared):
    """A request to /v1/embeddings."""

    input: msgspec.Raw = NULL


class Responses(Shared):
    """A request to /v1/responses."""

    input: msgspec.Raw = NULL
    max_output_tokens: _AtLeast1 | None = None
    tools: list[Tool] | None = None
    safety_identifier: str | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    background: bool | None = None


class Messages(Shared):
    """A request to /v1/messages."""

    messages: list[Turn] | None = None
    max_tokens: _AtLeast1 | None = None
    tools: list[Tool] | None = None
    metadata: Metadata | None = None
