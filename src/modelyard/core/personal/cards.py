"""Payment cards: a brand's prefix and length, and the right check digit. Source: ISO/IEC 7812-1 (Luhn)."""

import re
from collections.abc import Iterator

from modelyard.core.personal.spans import Span

# Cards are printed in groups of three digits or more.
_CARD_RUN = re.compile(r"(?<![\w.,-])\d{3,}(?:[ -]\d{3,})*(?!\w)")
_CARD_BRAND = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"
    r"|(?:5[1-5]\d{2}|222[1-9]|22[3-9]\d|2[3-6]\d{2}|27[01]\d|2720)\d{12}"
    r"|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|(?:6011|64[4-9]\d|65\d{2}|35[2-8]\d|62\d{2})\d{12,15}"
    r"|(?:5018|5020|5038|6304|6759|676[1-3])\d{8,15}"
)


def luhn_valid(digits: str) -> bool:
    """Whether the last digit is the check digit of the others."""
    doubled = [int(c) * (2 if place % 2 else 1) for place, c in enumerate(reversed(digits))]
    return sum(d // 10 + d % 10 for d in doubled) % 10 == 0


def cards(text: str) -> Iterator[Span]:
    """Runs of digit groups; a card may stand beside other numbers, so every stretch of groups is tried."""
    for run in _CARD_RUN.finditer(text):
        if run.end() - run.start() < 12:
            continue
        groups = [(m.start() + run.start(), m.end() + run.start()) for m in re.finditer(r"\d+", run[0])]
        yield from _cards_in(text, groups)


def _cards_in(text: str, groups: list[tuple[int, int]]) -> Iterator[Span]:
    first = 0
    while first < len(groups):
        digits, found = "", None
        for last in range(first, len(groups)):
            digits += text[slice(*groups[last])]
            if len(digits) > 19:
                break
            if _CARD_BRAND.fullmatch(digits) and luhn_valid(digits):
                found = last
        if found is not None:
            yield groups[first][0], groups[found][1], "card"
        first = first + 1 if found is None else found + 1
