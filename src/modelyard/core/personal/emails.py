"""E-mail addresses."""

import re
from collections.abc import Iterator

from modelyard.core.personal.spans import Span

EMAIL = re.compile(
    r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_](?:[\w-]{0,22}[^\W_])(?![\w-])"
)


def emails(text: str) -> Iterator[Span]:
    """E-mail addresses in a text."""
    for match in EMAIL.finditer(text) if "@" in text else ():
        yield match.start(), match.end(), "email"
