"""Texts that are found by their words."""

import re
from collections.abc import Sequence

import numpy as np
import pyarrow.compute as pc

from modelyard.datasets.index import Flags
from modelyard.datasets.texts import Texts


def any_of(phrases: Sequence[str]) -> str:
    """An expression for whole words, in either kind of apostrophe; it holds for RE2 alone."""
    return "(?:" + "|".join(map(_whole, phrases)) + ")"


def matching(texts: Texts, pattern: str) -> Flags:
    """The texts in which an expression of RE2 is found. Shape: (texts,)."""
    return np.asarray(pc.match_substring_regex(texts.to_arrow(), pattern).to_numpy(zero_copy_only=False), bool)


def _whole(phrase: str) -> str:
    # For RE2 a word has only ASCII in it: behind another letter it would ask for what it should forbid.
    end = r"\b" if phrase[-1:].isascii() and phrase[-1:].isalnum() else ""
    return re.escape(phrase).replace("'", r"['\x{2019}]") + end
