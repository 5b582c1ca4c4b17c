"""A text as the set of its words and of its runs of neighbouring words.

Messages often have ten words, and one changed word would break three of eight 3-grams; words and pairs keep what two
short texts share. A word is a run of letters, digits and marks; punctuation parts words; a character of Chinese or
Japanese is a word of its own, as those are written without blanks.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelyard.datasets.duplicates.folding import mix
from modelyard.datasets.index import Hashes
from modelyard.datasets.kernels import inlined, kernel
from modelyard.datasets.texts import Bytes, Ints, Texts

_FNV_START = np.uint64(0xCBF29CE484222325)
_FNV_STEP = np.uint64(0x100000001B3)
_JOIN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True, eq=False)
class Shingles:
    """Sets of hashes. Text i has hashes[offsets[i]:offsets[i + 1]], in which a hash may come more than once."""

    hashes: Hashes
    offsets: Ints


def shingles_of(folded: Texts, words: int) -> Shingles:
    """The runs of 1 to `words` words of each folded text."""
    return Shingles(*_shingles(folded.data, folded.offsets, words))


def jaccards(shingles: Shingles, left: Ints, right: Ints) -> npt.NDArray[np.float64]:
    """For each pair of texts the share of the union that both sets hold; 0 for empty sets. Shapes: (pairs,)."""
    found: npt.NDArray[np.float64] = _jaccards(shingles.hashes, shingles.offsets, left, right)
    return found


# What a character is to a word, by its first byte: apart from it, part of it, a word alone, no matter inside a word, or
# to be told by the bytes that follow.
_APART, _PART, _ALONE, _INSIDE, _LOOK = range(5)
_KINDS = np.array([byte >= 128 or chr(byte).isalnum() for byte in range(256)]).astype(np.int64)
# An apostrophe within a word is no part of it: don't is dont.
_KINDS[39] = _INSIDE
_KINDS[[0xC2, *range(0xE2, 0xEA)]] = _LOOK


@inlined
def next_word(data: Bytes, place: int, end: int) -> tuple[np.uint64, int, int]:
    """The next word from a place on: its hash, begin and end, which are equal where there is none."""
    hashed = _FNV_START
    begin = -1
    while place < end:
        kind, size = _KINDS[data[place]], 1
        if kind == _LOOK:
            kind, size = _looked_at(data, place)
        if kind == _PART or (kind == _ALONE and begin < 0):
            if begin < 0:
                begin = place
            for part in range(size):
                hashed = (hashed ^ np.uint64(data[place + part])) * _FNV_STEP
            place += size
            if kind == _ALONE:
                return mix(hashed), begin, place
        elif begin < 0 or kind == _INSIDE:
            place += size
        else:
            return mix(hashed), begin, place
    if begin >= 0:
        return mix(hashed), begin, end
    return hashed, end, end


@kernel
def _looked_at(data: Bytes, place: int) -> tuple[int, int]:
    """What a character of several bytes is to a word, and how many bytes it has."""
    first, second = data[place], data[place + 1]
    if first == 0xC2:
        # Signs and punctuation of Latin-1.
        return _APART, 2
    if first == 0xE2:
        if second > 0x81:
            return _PART, 3
        # General punctuation, with the typographer's apostrophe.
        return (_INSIDE if second == 0x80 and data[place + 2] == 0x99 else _APART), 3
    # Chinese, Japanese and Korean, and their punctuation.
    return (_APART if first == 0xE3 and second == 0x80 else _ALONE), 3


@inlined
def push(last: Hashes, hashed: np.uint64) -> None:
    """Put the hash of a word before those of the words that came last. A few moves cost less than one division."""
    for place in range(len(last) - 1, 0, -1):
        last[place] = last[place - 1]
    last[0] = hashed


@kernel
def _shingles(data: Bytes, offsets: Ints, words: int) -> tuple[Hashes, Ints]:
    """Hashes of all runs, in the order of their last words. One byte begins at most one word."""
    out = np.empty(len(data) * words // 2 + words * len(offsets), np.uint64)
    ends = np.zeros(len(offsets), np.int64)
    last = np.zeros(words, np.uint64)
    end = 0
    for text in range(len(offsets) - 1):
        place = offsets[text]
        count = 0
        while True:
            hashed, begin, place = next_word(data, place, offsets[text + 1])
            if begin == place:
                break
            count = min(count + 1, words)
            push(last, hashed)
            run = np.uint64(0)
            for back in range(count):
                run = mix(run * _JOIN + last[back])
                out[end] = run
                end += 1
        ends[text + 1] = end
    return out[:end], ends


@kernel
def _jaccards(hashes: Hashes, offsets: Ints, left: Ints, right: Ints) -> npt.NDArray[np.float64]:
    """One table for all pairs: a slot counts only where its mark is that of the pair, so nothing needs clearing."""
    longest = 1
    for text in range(len(offsets) - 1):
        longest = max(longest, offsets[text + 1] - offsets[text])
    size = 4
    while size < 4 * longest:
        size *= 2
    keys = np.zeros(size, np.uint64)
    marks = np.zeros(size, np.int64)
    out = np.zeros(len(left), np.float64)
    for pair in range(len(left)):
        union = 0
        common = 0
        # Held by the left text alone, and held by the right one, be it alone or by both.
        first, second = 2 * pair + 1, 2 * pair + 2
        for side in range(2):
            text = left[pair] if side == 0 else right[pair]
            for place in range(offsets[text], offsets[text + 1]):
                slot = np.int64(hashes[place] & np.uint64(size - 1))
                while marks[slot] >= first and keys[slot] != hashes[place]:
                    slot = (slot + 1) & (size - 1)
                if marks[slot] < first:
                    keys[slot] = hashes[place]
                    marks[slot] = first if side == 0 else second
                    union += 1
                elif side == 1 and marks[slot] == first:
                    marks[slot] = second
                    common += 1
        if union:
            out[pair] = common / union
    return out
