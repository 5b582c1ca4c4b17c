"""Regular expressions that a caller's text can be held against: those that could take long are refused beforehand.

The work of a backtracking match is bounded by the number of ways in which the pattern can be laid over the text.
"""

import importlib
import re
from collections.abc import Iterable
from typing import Any

from modelyard.core.errors import InvalidInput

MAX_CHARS = 256  # longer values match nothing
_MAX_WAYS = 100_000  # a few milliseconds at the very worst

# The standard library's own parser: what it says of a pattern is what its matcher does.
_parser = importlib.import_module("re._parser")


def compile_pattern(text: str, where: str) -> re.Pattern[str]:
    """A pattern for values of at most `MAX_CHARS`. Raises: InvalidInput where it is none, or may take long."""
    try:
        pattern = re.compile(text)
        parsed: Any = _parser.parse(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise InvalidInput(f"{where} has the pattern '{text}', which is none: {error}") from error
    starts = 1 if _is_anchored(parsed) else MAX_CHARS + 1
    if _ways(parsed) * starts > _MAX_WAYS:
        raise InvalidInput(
            f"{where} has the pattern '{text}', which can take long on a text made for it",
            expected="fewer of * + ? {} and |, none of them within another",
            fix="Begin it with ^, leave '.*' at its ends off, or write several values.",
        )
    return pattern


def _is_anchored(parsed: Any) -> bool:
    first = list(parsed)[:1]
    return bool(first) and str(first[0][0]) == "AT" and str(first[0][1]) in ("AT_BEGINNING", "AT_BEGINNING_STRING")


def _ways(parsed: Iterable[tuple[Any, Any]]) -> int:
    """In how many ways a parsed pattern can be laid over a text; capped just above what is allowed."""
    ways = 1
    for op, argument in parsed:
        ways = min(ways * _ways_of(str(op), argument), _MAX_WAYS + 1)
    return ways


def _ways_of(op: str, argument: Any) -> int:
    if op in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        low, high, body = argument
        return _ways_repeated(int(low), min(int(high), MAX_CHARS), _ways(body))
    if op == "BRANCH":
        return sum(_ways(branch) for branch in argument[1])
    if op == "SUBPATTERN":
        return _ways(argument[-1])
    if op in ("ASSERT", "ASSERT_NOT"):
        return _ways(argument[1])
    if op == "ATOMIC_GROUP":
        return _ways(argument)
    if op == "GROUPREF_EXISTS":
        return sum(_ways(branch) for branch in argument[1:] if branch is not None)
    return 1


def _ways_repeated(low: int, high: int, each: int) -> int:
    if each == 1:
        return max(1, high - min(low, high) + 1)
    return each ** min(high, 20) * max(1, high - min(low, high) + 1) if high else 1
