"""Counting a request's tokens without answering it: `/v1/messages/count_tokens` over an engine that can tokenize.

vLLM's `/tokenize` takes a conversation and renders it by the model's own template. An engine that has
`/v1/messages/count_tokens` itself is asked there, and its bytes pass.
"""

import msgspec

from modelyard.gateway.dialects.messages.request import to_chat
from modelyard.gateway.errors import malformed

_NEEDED = ("model", "messages", "tools", "chat_template_kwargs")


class _Counted(msgspec.Struct):
    count: int


_counted_of = msgspec.json.Decoder(_Counted).decode
_encode = msgspec.json.Encoder().encode


def tokenize_request(fields: dict[str, msgspec.Raw], body: bytes, model: msgspec.Raw) -> bytes:
    """The body for the engine's `/tokenize`. Raises: Refusal (400), as an answer's request would be."""
    chat = to_chat(fields, body)
    chat["model"] = model
    return _encode({name: chat[name] for name in _NEEDED if name in chat})


def counted(body: bytes) -> bytes:
    """What the caller gets for what `/tokenize` said. Raises: UpstreamFailed where it is no count."""
    try:
        count = _counted_of(body).count
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise malformed() from None
    return b'{"input_tokens":%d}' % count
