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
from modelyard.datasets.kernels import kernel
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


@kernel
def next_word(data: Bytes, place: int, end: int) -> tuple[np.uint64, int, int]:
    """The next word from a place on: its hash, begin and end, which are equal where there is none."""
    hashed = _FNV_START
    begin = -1
    while place < end:
        byte = data[place]
        size = 1
        is_word = 97 <= byte <= 122 or 48 <= byte <= 57 or 65 <= byte <= 90 or byte >= 128
        is_alone = False
        if byte >= 0xE2 and byte <= 0xE9 and place + 2 < end:
            # General punctuation, and that of Chinese and Japanese.
            if (byte == 0xE2 and data[place + 1] <= 0x81) or (byte == 0xE3 and data[place + 1] == 0x80):
                is_word = False
                size = 3
            elif byte >= 0xE3:
                is_alone = True
                size = 3
        # An apostrophe within a word is no part of it: don't is dont.
        if begin >= 0 and (byte == 39 or (byte == 0xE2 and size == 3 and data[place + 2] == 0x99)):
            place += size
            continue
        if begin >= 0 and (is_alone or not is_word):
            return mix(hashed), begin, place
        if is_word:
            if begin < 0:
                begin = place
            for part in range(size):
                hashed = (hashed ^ np.uint64(data[place + part])) * _FNV_STEP
            if is_alone:
                return mix(hashed), begin, place + size
        place += size
    if begin >= 0:
        return mix(hashed), begin, end
    return hashed, end, end


@kernel
def _shingles(data: Bytes, offsets: Ints, words: int) -> tuple[Hashes, Ints]:
    """Hashes of all runs, in the order of their last words. One byte begins at most one word."""
    out = np.empty(len(data) * words // 2 + words * len(offsets), np.uint64)
    ends = np.zeros(len(offsets), np.int64)
    ring = np.zeros(words, np.uint64)
    end = 0
    for text in range(len(offsets) - 1):
        place = offsets[text]
        count = 0
        while True:
            hashed, begin, place = next_word(data, place, offsets[text + 1])
            if begin == place:
                break
            ring[count % words] = hashed
            count += 1
            run = np.uint64(0)
            for back in range(min(count, words)):
                run = mix(run * _JOIN + ring[(count - 1 - back) % words])
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
