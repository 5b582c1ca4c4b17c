"""Texts that are no language: mashed keys, broken encodings, binary as text.

Each rule is about shares, so that a word of this kind in a long text does no harm. A kernel finds the few texts that
could break a rule, by shares of bytes that are never too small; expressions decide about those.
"""

import re

import numpy as np

from modelyard.datasets.index import Flags
from modelyard.datasets.kernels import kernel
from modelyard.datasets.texts import Bytes, Ints, Texts

_MIN_CHARS = 12
_MASHED_CHARS = 6
_BLOB_CHARS = 60
_STUCK_CHARS = 8
_MAX_SHARE = 0.3
# Other scripts are letters to Python, code has many symbols: half of a text is too many for either.
_MAX_SYMBOLS = 0.5
# Consonants alone, over and over; vowels of Latin languages, y among them.
_MASHED = re.compile(rf"(?i)\b[bcdfghjklmnpqrstvwxz]{{{_MASHED_CHARS},}}\b")
_STUCK = re.compile(rf"([A-Za-z])\1{{{_STUCK_CHARS - 1},}}")
_BLOB = re.compile(rf"[A-Za-z0-9+/=_-]{{{_BLOB_CHARS},}}")
# UTF-8 that was read as Latin-1, and what stands for lost characters.
_BROKEN = re.compile(r"[\u00c2\u00c3][\u0080-\u00bf\u0192\u201a-\u203a]|\u00e2\u20ac[\u2018-\u2122\u0153]|\ufffd")
_SYMBOL = re.compile(r"[^\w\s.,;:!?'\"()-]")

_CONSONANT, _BLOB_BYTE, _SYMBOL_BYTE = 1, 2, 4
_CLASS = np.array(
    [
        (_CONSONANT if chr(byte) in "bcdfghjklmnpqrstvwxzBCDFGHJKLMNPQRSTVWXZ" else 0)
        | (_BLOB_BYTE if byte < 128 and _BLOB.fullmatch(chr(byte) * _BLOB_CHARS) else 0)
        # Beyond ASCII, the first byte of what may be a symbol: one of Latin-1, an arrow, a private one, an emoji.
        | (_SYMBOL_BYTE if (byte < 128 and _SYMBOL.match(chr(byte))) or byte in (0xC2, 0xE2, 0xEF, 0xF0) else 0)
        for byte in range(256)
    ],
    np.uint8,
)


def gibberish(texts: Texts) -> dict[int, str]:
    """The texts that are no language, with what they are."""
    suspects: Flags = _suspects(texts.data, texts.offsets)
    found = {}
    for place in np.flatnonzero(suspects).tolist():
        if what := fault(texts[place]):
            found[place] = what
    return found


def fault(text: str) -> str:
    """What makes a text gibberish; empty where nothing does."""
    if len(text) < _MIN_CHARS:
        return ""
    if len(_BROKEN.findall(text)) * 20 > len(text.split()):
        return "a broken encoding"
    if _share(_MASHED, text) > _MAX_SHARE:
        return "mashed keys"
    if _share(_STUCK, text) > _MAX_SHARE:
        return "one letter over and over"
    if _share(_BLOB, text) > _MAX_SHARE:
        return "binary as text"
    return "mostly symbols" if _share(_SYMBOL, text) > _MAX_SYMBOLS else ""


def _share(pattern: re.Pattern[str], text: str) -> float:
    return sum(len(match[0]) for match in pattern.finditer(text)) / len(text)


@kernel
def _suspects(data: Bytes, offsets: Ints) -> Flags:
    """Texts that may break a rule; see `fault`. Shape: (texts,)."""
    out = np.zeros(len(offsets) - 1, np.bool_)
    for text in range(len(offsets) - 1):
        num_chars = num_symbols = mashed = blobs = stuck = broken = 0
        consonants = blob = same = 0
        last = np.uint8(0)
        for place in range(offsets[text], offsets[text + 1]):
            byte = data[place]
            kind = _CLASS[byte]
            num_chars += (byte & 0xC0) != 0x80
            num_symbols += (kind & _SYMBOL_BYTE) != 0
            # A run is counted when it becomes long enough, and each of its bytes from then on.
            consonants = consonants + 1 if kind & _CONSONANT else 0
            blob = blob + 1 if kind & _BLOB_BYTE else 0
            same = same + 1 if byte == last else 1
            mashed += _MASHED_CHARS if consonants == _MASHED_CHARS else consonants > _MASHED_CHARS
            blobs += _BLOB_CHARS if blob == _BLOB_CHARS else blob > _BLOB_CHARS
            stuck += _STUCK_CHARS if same == _STUCK_CHARS else same > _STUCK_CHARS
            # The ends of what a wrong reading makes of UTF-8, and of the replacement character.
            broken += (last == 0xC3 and byte in (0x82, 0x83, 0xA2)) or (last == 0xBF and byte == 0xBD)
            last = byte
        most = _MAX_SHARE * num_chars
        out[text] = num_chars >= _MIN_CHARS and (
            broken > 0 or mashed > most or blobs > most or stuck > most or num_symbols > _MAX_SYMBOLS * num_chars
        )
    return out
