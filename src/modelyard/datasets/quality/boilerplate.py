"""Boilerplate: words that stand on every page and say nothing about it.

Source: after Raffel et al. (2020), C4, section 2.2, which drops pages by such words.
"""

from collections.abc import Sequence

import numpy as np

from modelyard.datasets.index import Flags
from modelyard.datasets.quality.phrases import any_of, matching
from modelyard.datasets.texts import Texts

# Nobody writes these in a question or an answer.
_SURE = (
    "lorem ipsum dolor", "accept all cookies", "click here to unsubscribe", "javascript is disabled in your browser",
    "please enable javascript", "skip to main content", "this page is intentionally left blank",
    "permission is hereby granted, free of charge", "this site uses cookies", "we use cookies to",
    "terms of use and privacy policy", "subscribe to our newsletter",
)  # fmt: skip
# People ask about these; two of them make a page.
_LIKELY = (
    "all rights reserved", "cookie policy", "privacy policy", "terms of service", "terms of use",
    "javascript is disabled", "enable javascript", "share on facebook", "share on twitter", "read more", "sign up now",
    "powered by wordpress", "back to top", "follow us on", "previous post", "next post", "leave a comment", "site map",
)  # fmt: skip
_ENOUGH = 2


def boilerplate(texts: Texts, phrases: Sequence[str]) -> Flags:
    """Texts with a sure sign, one of `phrases` among them, or with two likely ones. Shape: (texts,)."""
    marks = matching(texts, f"(?i){any_of((*_SURE, *phrases))}")
    likely = np.flatnonzero(matching(texts, f"(?i){any_of(_LIKELY)}"))
    some = texts.take(likely)
    counts = np.sum([matching(some, f"(?i){any_of((phrase,))}") for phrase in _LIKELY], axis=0)
    marks = marks.copy()
    marks[likely] |= counts >= _ENOUGH
    return marks
