"""The gateway's logs: one line each, as words or as JSON, without secrets."""

import logging
import sys
from collections.abc import Callable
from typing import Literal, TextIO

import msgspec

from modelyard.core.clock import iso
from modelyard.gateway.guards.credentials import scrub as scrub_forms

LogFormat = Literal["text", "json"]
# What a log call may add with `extra`.
FIELDS = ("request_id", "service", "tenant", "key_id", "release", "status", "code", "latency_ms")

_encode = msgspec.json.Encoder(enc_hook=str).encode


class ScrubbedFormatter(logging.Formatter):
    """One line a record: `format` as text or JSON. Line breaks within a text are escaped, so no caller can add a line.

    `scrub` can be replaced when a route table with other credentials is taken.
    """

    def __init__(self, form: LogFormat = "text", scrub: Callable[[str], str] = scrub_forms) -> None:
        super().__init__()
        self._form = form
        self.scrub = scrub

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields = {
            "time": iso(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.scrub(record.getMessage()),
        }
        for name in FIELDS:
            if (value := getattr(record, name, None)) is not None:
                fields[name] = self.scrub(value) if isinstance(value, str) else value
        if record.exc_info:
            fields["error"] = self.scrub(self.formatException(record.exc_info))
        if self._form == "json":
            return _encode(fields).decode()
        return _as_text(fields)


def configure_logging(form: LogFormat = "text", stream: TextIO | None = None) -> ScrubbedFormatter:
    """Make all loggers write such lines to standard error. Gives the formatter, whose `scrub` may be replaced."""
    formatter = ScrubbedFormatter(form)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    return formatter


def _as_text(fields: dict[str, str]) -> str:
    first = [fields.pop(name) for name in ("time", "level", "logger", "message")]
    line = f"{first[0]} {first[1].upper()} {first[2]}: {first[3]}"
    more = " ".join(f"{name}={value}" for name, value in fields.items() if name != "error")
    whole = f"{line} {more}".rstrip()
    whole = whole.replace("\r", "\\r").replace("\n", "\\n")
    # A traceback is ours, and people want its lines.
    return f"{whole}\n{fields['error']}" if "error" in fields else whole
