"""What the gateway refuses and what goes wrong upstream, with the HTTP status and OpenAI's error body for each.

A message never holds an upstream address, and never a key.
"""

from collections.abc import Sequence

import msgspec

from modelyard.core.errors import EngineFailed, ModelyardError

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class Refusal(ModelyardError):
    """A request that the gateway itself answers with an error. `param` names the field at fault, if one is."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.headers = tuple(headers)


class UpstreamFailed(EngineFailed):
    """An engine that cannot be reached, is too slow, or breaks off: the status and code that the caller is told."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def unreachable() -> UpstreamFailed:
    """No connection, or one that was lost before the first byte of an answer."""
    return UpstreamFailed(502, "upstream_unavailable", "The engine behind this service does not answer. Try again.")


def timed_out(what: str, seconds: float) -> UpstreamFailed:
    """A time limit that ran out."""
    return UpstreamFailed(504, "upstream_timeout", f"The engine behind this service sent no {what} in {seconds:g} s.")


def cut() -> UpstreamFailed:
    """A connection that was lost in the middle of an answer."""
    return UpstreamFailed(502, "upstream_cut", "The engine behind this service broke off in the middle of its answer.")


def broken(code: str) -> UpstreamFailed:
    """A stream that consists of an error."""
    return UpstreamFailed(502, code, "The engine behind this service reported an error instead of an answer.")


def malformed() -> UpstreamFailed:
    """Bytes that are not an answer."""
    return UpstreamFailed(502, "upstream_malformed", "The engine behind this service sent something that is no answer.")


def error_body(status: int, code: str, message: str, param: str | None = None) -> bytes:
    """OpenAI's error body, with real nulls."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})
