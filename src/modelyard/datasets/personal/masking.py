"""Personal data covered in a raw line, as the quarantine keeps it."""

import re
from collections.abc import Collection

from modelyard.datasets.personal.config import KINDS
from modelyard.datasets.personal.finding import find_personal_data
from modelyard.datasets.personal.presidio import Presidio
from modelyard.datasets.personal.spans import Span, beside, mask

__all__ = ["find_raw", "find_text", "mask", "mask_raw"]

_ESCAPE = re.compile(r"\\(?:u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_BLANKS = {"n": "\n", "r": "\r", "t": "\t", "b": " ", "f": " "}


def mask_raw(raw: str, presidio: Presidio | None = None) -> str:
    """A raw line with its personal data masked, whatever the dataset does with its own.

    In a raw JSON line `\\n` stands for a line feed and `\\u0040` for an @; seen as letters they would hide what they
    stand beside.
    """
    return mask(raw, find_raw(raw, presidio=presidio))


def find_raw(raw: str, kinds: Collection[str] = KINDS, presidio: Presidio | None = None) -> list[Span]:
    """What is found in a raw line, where it stands there."""
    if "\\" not in raw:
        return find_text(raw, kinds, presidio)
    view, places = _unescaped(raw)
    return [(places[start], places[end], kind) for start, end, kind in find_text(view, kinds, presidio)]


def find_text(text: str, kinds: Collection[str] = KINDS, presidio: Presidio | None = None) -> list[Span]:
    """What is found in a text by patterns and, beside it, by Presidio."""
    found = find_personal_data(text, kinds)
    return beside(found, presidio.find([text])[0]) if presidio else found


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
