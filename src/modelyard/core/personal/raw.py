"""Personal data in raw JSON, where it stands there, without parsing it."""

import re
from collections.abc import Callable, Collection

from modelyard.core.personal.finding import KINDS, find_personal_data
from modelyard.core.personal.spans import Span

_ESCAPE = re.compile(r"\\(?:u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_BLANKS = {"n": "\n", "r": "\r", "t": "\t", "b": " ", "f": " "}


def find_raw(
    raw: str, kinds: Collection[str] = KINDS, find: Callable[..., list[Span]] = find_personal_data
) -> list[Span]:
    """What is found in a raw text, where it stands there.

    In raw JSON `\\n` stands for a line feed and `\\u0040` for an @; seen as letters they would hide what they stand
    beside.
    """
    if "\\" not in raw:
        return find(raw, kinds)
    view, places = _unescaped(raw)
    return [(places[start], places[end], kind) for start, end, kind in find(view, kinds)]


def _unescaped(raw: str) -> tuple[str, list[int]]:
    """The text with its JSON escapes as what they stand for, and where each character begins in the raw line."""
    view: list[str] = []
    places: list[int] = []
    done = 0
    for match in _ESCAPE.finditer(raw):
        view.extend(raw[done : match.start()])
        places.extend(range(done, match.start()))
        view.append(_meant(match[0]))
        places.append(match.start())
        done = match.end()
    view.extend(raw[done:])
    places.extend(range(done, len(raw) + 1))
    return "".join(view), places


def _meant(escape: str) -> str:
    if len(escape) == 6:
        return chr(int(escape[2:], 16))
    return _BLANKS.get(escape[1:], escape[1:])
