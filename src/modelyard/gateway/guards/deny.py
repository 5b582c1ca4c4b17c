"""The filter `deny`: words and regular expressions that may not occur."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modelyard.core.errors import Corrupt
from modelyard.core.personal.spans import Span
from modelyard.gateway.guards.tails import AHEAD_CHARS, compile_pattern, looks_ahead, open_ended

# No match is longer: the bound of what a stream holds back.
MAX_MATCH_CHARS = 1024
_MAX_FILE_BYTES = 4 << 20
_SEARCH_S = 0.05


class Denied:
    """Finds words and patterns; one for all texts. `spans` are of the kind `denied`.

    Raises: TimeoutError where a pattern takes longer than 50 ms on a text.
    """

    __slots__ = ("_match", "_open")

    def __init__(self, words: list[str], patterns: list[str], *, case: bool = False) -> None:
        forms = [f"(?:{pattern})" for pattern in patterns]
        if words:
            forms.append(r"(?<!\w)\L<words>(?!\w)")
        text = f"({'?:' if case else '?i:'}{'|'.join(forms)})"
        lists = {"words": words} if words else {}
        self._match = compile_pattern(text, **lists)
        self._open = open_ended(text, **lists)

    def find(self, text: str, start: int) -> list[Span]:
        """What is found from `start` on; what would be longer than MAX_MATCH_CHARS is cut there."""
        found: list[Span] = []
        while (match := self._match.search(text, start, timeout=_SEARCH_S)) is not None:
            begin, end = match.span()
            if end - begin > MAX_MATCH_CHARS:
                shorter: Any = self._match.match(text, begin, begin + MAX_MATCH_CHARS, timeout=_SEARCH_S)
                end = shorter.end() if shorter else begin
            if end > begin:
                found.append((begin, end, "denied"))
            start = max(end, begin + 1)
        return found

    def held_from(self, text: str, start: int) -> int:
        """Where the first match begins that may still grow and is not yet too long."""
        start = max(start, len(text) - MAX_MATCH_CHARS - AHEAD_CHARS)
        match = self._open.search(text, start, partial=True, timeout=_SEARCH_S)
        return match.start() if match else len(text)

    def calm(self, text: str) -> int:
        """Never sure without looking."""
        return -1


def read_denied(options: Mapping[str, str]) -> Denied:
    """The filter of its options. Raises: Corrupt where they name nothing, or cannot be read."""
    words = _lines(options.get("words", "").replace(",", "\n"))
    patterns = _lines(options.get("patterns", ""))
    for line in _file_lines(options.get("file", "")):
        if len(line) > 2 and line.startswith("/") and line.endswith("/"):
            patterns.append(line[1:-1])
        else:
            words.append(line)
    if not words and not patterns:
        raise Corrupt(
            "the filter deny denies nothing",
            expected="an option `words` (by commas), `patterns` (one a line) or `file`",
            fix="name what is denied, or drop the filter",
        )
    _check(patterns)
    return Denied(words, patterns, case=options.get("case", "") == "true")


def _check(patterns: list[str]) -> None:
    for pattern in patterns:
        compile_pattern(pattern)
        if looks_ahead(pattern):
            raise Corrupt(
                f"the filter deny cannot use the pattern '{pattern[:80]}': it asks for what follows its match",
                expected="no look-ahead and no $, as a stream has no end yet",
                fix=r"use \b, or match what follows as well",
            )
        if compile_pattern(pattern).match(""):
            raise Corrupt(
                f"the filter deny's pattern '{pattern[:80]}' matches the empty text",
                expected="a pattern that matches at least one character",
                fix="correct the pattern",
            )


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _file_lines(name: str) -> Iterator[str]:
    if not name:
        return
    try:
        data = Path(name).read_bytes()
        lines = data[:_MAX_FILE_BYTES].decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise Corrupt(
            f"the filter deny cannot read its file: {reason}",
            expected="a word a line, or /a regular expression/; # begins a comment",
            fix="correct the filter's option `file`; the path is one of the gateway's machine",
        ) from error
    if len(data) > _MAX_FILE_BYTES:
        raise Corrupt("the filter deny's file is larger than 4 MiB", fix="shorten it")
    yield from (line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))
