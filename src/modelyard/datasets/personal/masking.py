"""Personal data covered in a raw line, as the quarantine keeps it."""

from collections.abc import Collection

from modelyard.core.personal.finding import KINDS, find_personal_data
from modelyard.core.personal.raw import find_raw as find_plain_raw
from modelyard.core.personal.spans import Span, beside, mask
from modelyard.datasets.personal.presidio import Presidio

__all__ = ["find_raw", "find_text", "mask", "mask_raw"]


def mask_raw(raw: str, presidio: Presidio | None = None) -> str:
    """A raw line with its personal data masked, whatever the dataset does with its own."""
    return mask(raw, find_raw(raw, presidio=presidio))


def find_raw(raw: str, kinds: Collection[str] = KINDS, presidio: Presidio | None = None) -> list[Span]:
    """What is found in a raw line, where it stands there."""
    return find_plain_raw(raw, kinds, lambda text, kinds: find_text(text, kinds, presidio))


def find_text(text: str, kinds: Collection[str] = KINDS, presidio: Presidio | None = None) -> list[Span]:
    """What is found in a text by patterns and, beside it, by Presidio."""
    found = find_personal_data(text, kinds)
    return beside(found, presidio.find([text])[0]) if presidio else found
