"""What of a growing text is settled: where patterns may still find something once more of it comes.

A pattern of the `regex` package tells where a match could still run on past the end, so that only this is held back.
"""

import re
from collections.abc import Sequence
from typing import Any, Protocol

from modelyard.core.errors import Corrupt, MissingExtra
from modelyard.core.personal.spans import Span

# How far behind a place a pattern may look for the words that explain it.
CONTEXT_CHARS = 96
# A match counts only once this much is known of what follows it: patterns look no further ahead.
AHEAD_CHARS = 3
_LOOKS_AHEAD = re.compile(r"\(\?[=!]|(?<!\\)\$|\\Z")


def compile_pattern(pattern: str, **lists: Sequence[str]) -> Any:
    """A pattern of the `regex` package, blind to case where it says so. Raises: MissingExtra; Corrupt for a bad one."""
    try:
        import regex
    except ModuleNotFoundError as error:
        raise MissingExtra("regex", "guards") from error
    try:
        return regex.compile(pattern, **lists)
    except regex.error as error:
        raise Corrupt(
            f"a filter's pattern cannot be read: {error}", expected="a regular expression", fix="correct the filter"
        ) from error


def open_ended(*patterns: str, **lists: Sequence[str]) -> Any:
    """The pattern that, searched with `partial=True`, finds where the first match begins that more text may change.

    It never matches; what it would have to go past the end for is the answer. Each pattern is atomic: once it has
    matched in the middle of a text, that is how it matches, whatever else it could have tried.
    """
    tried = "|".join(f"(?>{pattern})" for pattern in patterns)
    return compile_pattern(rf"(?:{tried})(?s:.){{{AHEAD_CHARS}}}(?!)", **lists)


def looks_ahead(pattern: str) -> bool:
    """Whether a pattern asks for what follows its match, which a stream does not know yet."""
    return bool(_LOOKS_AHEAD.search(pattern))


class Finder(Protocol):
    """Finds spans in a text. Texts only grow."""

    def find(self, text: str, start: int) -> list[Span]:
        """What is found from `start` on, in order and without overlaps; what lies before is there for context."""

    def held_from(self, text: str, start: int) -> int:
        """Where the first thing begins, from `start` on, that more text could make, change or unmake."""

    def calm(self, text: str) -> int:
        """How much of a text that follows settled text is sure to hold nothing; -1 where this takes a closer look."""


class Tail:
    """A growing text: `feed` takes a piece and gives the text that is settled, with what was found in it."""

    __slots__ = ("_buffer", "_done", "_finder")

    def __init__(self, finder: Finder) -> None:
        self._finder = finder
        self._buffer = ""
        self._done = 0

    @property
    def held(self) -> str:
        """What waits for what follows."""
        return self._buffer[self._done :]

    def feed(self, piece: str) -> tuple[str, list[Span]]:
        """The text that became settled, and the spans in it."""
        buffer, done = self._buffer + piece, self._done
        calm = self._finder.calm(buffer[done:])
        if calm >= 0:
            end = done + calm
            settled: list[Span] = []
        else:
            end, settled = self._settle(buffer, done)
        out = buffer[done:end]
        keep = max(0, end - CONTEXT_CHARS)
        self._buffer, self._done = buffer[keep:], end - keep
        return out, settled

    def finish(self) -> tuple[str, list[Span]]:
        """What was held back, and the spans in it. Nothing may follow."""
        buffer, done = self._buffer, self._done
        found = self._finder.find(buffer, done) if done < len(buffer) else []
        self._buffer, self._done = "", 0
        return buffer[done:], _moved(found, done)

    def _settle(self, buffer: str, done: int) -> tuple[int, list[Span]]:
        end = self._finder.held_from(buffer, done)
        if end == done:
            return end, []
        found = self._finder.find(buffer, done)
        for start, stop, _ in reversed(found):
            # What is found but reaches into what is not settled may yet lose its place to it.
            if start < end < stop:
                end = start
        return end, _moved([span for span in found if span[1] <= end], done)


def _moved(spans: list[Span], by: int) -> list[Span]:
    return [(start - by, stop - by, kind) for start, stop, kind in spans]
