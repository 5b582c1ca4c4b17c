"""Anthropic's errors: their types by status, their body, their event."""

import msgspec

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class _Error(msgspec.Struct):
    message: str = ""


class _Body(msgspec.Struct):
    error: _Error


_body_of = msgspec.json.Decoder(_Body)


def anthropic_error(status: int, message: str, request_id: str) -> bytes:
    """An error as Anthropic tells it."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    error = {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id or None}
    return msgspec.json.encode(error)


def error_event(status: int, message: str, request_id: str) -> bytes:
    """An error in the middle of a stream, which ends it."""
    return b"event: error\ndata: " + anthropic_error(status, message, request_id) + b"\n\n"


def error_from_chat(status: int, body: bytes, request_id: str) -> bytes | None:
    """An engine's error in OpenAI's shape, as Anthropic tells it; None for a body without one."""
    try:
        message = _body_of.decode(body).error.message
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return anthropic_error(status, message, request_id) if message else None
