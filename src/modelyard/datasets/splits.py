"""Which split a row belongs to: decided by the row alone, so adding rows never moves an old one.

Knows nothing about files, columns or duplicates.
"""

import hashlib
import unicodedata
from collections.abc import Mapping

SPLITS = ("train", "validation", "test")
DEFAULT_FRACTIONS: Mapping[str, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}


def split_key(text: str) -> str:
    """The form of a row's input that decides its split: NFKC, case-folded, white space collapsed.

    Rows that differ only in case or spacing share a key, so they never straddle two splits.
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def split_of(key: str, fractions: Mapping[str, float] = DEFAULT_FRACTIONS, salt: str = "") -> str:
    """The split that owns a key: SHA-256 of `salt || key` on the unit interval, cut by the fractions in their order.

    `fractions` are shares of one. The same key, fractions and salt give the same split on any machine.
    """
    digest = hashlib.sha256(f"{salt}\x00{key}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    bound = 0.0
    name = ""
    for name, fraction in fractions.items():
        bound += fraction
        if position < bound:
            return name
    return name
