"""Rows made by hand, for the tests of single steps."""

import numpy as np

from modelyard.datasets.rows import ANSWER, ASSISTANT, PROMPT, USER, Rows
from modelyard.datasets.texts import Texts


def asked(*pairs: tuple[str, str]) -> Rows:
    """One row of one question and one answer for each pair."""
    return Rows(
        line=np.arange(1, len(pairs) + 1),
        turns=Texts.of([text for pair in pairs for text in pair]),
        roles=np.array([USER, ASSISTANT] * len(pairs), np.uint8),
        parts=np.array([PROMPT, ANSWER] * len(pairs), np.uint8),
        bounds=np.arange(0, 2 * len(pairs) + 1, 2),
        ids=[None] * len(pairs),
    )
