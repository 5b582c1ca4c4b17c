"""What the gateway refuses and what goes wrong upstream, with the HTTP status and OpenAI's error body for each.

A message never holds an upstream address, and never a key.
"""

from collections.abc import Sequence

import msgspec

from modelyard.core.errors import EngineFailed, ModelyardError

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class Refusal(ModelyardError):
    """A request that the gateway itself answers with an error. `param` names the field at fault, if one is.

    `labels` is what the metrics count it under, where that is more than status and code.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
        labels: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.headers = tuple(headers)
        self.labels = labels


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


def late() -> UpstreamFailed:
    """A deadline of the caller's own that is past."""
    message = "The answer was not whole by the deadline in 'x-modelyard-deadline-ms'. Give it more time."
    return UpstreamFailed(504, "deadline_exceeded", message)


def cut() -> UpstreamFailed:
    """A connection that was lost in the middle of an answer."""
    return UpstreamFailed(502, "upstream_cut", "The engine behind this service broke off in the middle of its answer.")


def broken(code: str) -> UpstreamFailed:
    """A stream that consists of an error."""
    return UpstreamFailed(502, code, "The engine behind this service reported an error instead of an answer.")


def malformed() -> UpstreamFailed:
    """Bytes that are not an answer."""
    return UpstreamFailed(502, "upstream_malformed", "The engine behind this service sent something that is no answer.")


def refused(refusal: Refusal) -> UpstreamFailed:
    """A refusal in the middle of a stream, as the end of it is told."""
    return UpstreamFailed(refusal.status, refusal.code, refusal.seen)


def openai_error(status: int, code: str, message: str, param: str | None = None) -> bytes:
    """OpenAI's error body, with real nulls."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})
