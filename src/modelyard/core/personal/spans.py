"""Where something was found in a text, and the text with it covered."""

from collections.abc import Iterable, Sequence

Span = tuple[int, int, str]


def beside(taken: Sequence[Span], more: Iterable[Span]) -> list[Span]:
    """The spans that are there and those of `more` that overlap none of them, in their order."""
    spans = list(taken)
    for start, end, kind in more:
        if all(end <= s or e <= start for s, e, _ in spans):
            spans.append((start, end, kind))
    return sorted(spans)


def mask(text: str, spans: Iterable[Span]) -> str:
    """The text with each span replaced by its kind: `[EMAIL]`, `[PHONE]`, `[NATIONAL_ID]`."""
    pieces, done = [], 0
    for start, end, kind in spans:
        pieces += [text[done:start], f"[{kind.upper()}]"]
        done = end
    return "".join([*pieces, text[done:]])
