"""Where something was found in a text, and the text with it covered."""

from collections.abc import Iterable

Span = tuple[int, int, str]


def mask(text: str, spans: Iterable[Span]) -> str:
    """The text with each span replaced by its kind: `[EMAIL]`, `[PHONE]`, `[NATIONAL_ID]`."""
    pieces, done = [], 0
    for start, end, kind in spans:
        pieces += [text[done:start], f"[{kind.upper()}]"]
        done = end
    return "".join([*pieces, text[done:]])
