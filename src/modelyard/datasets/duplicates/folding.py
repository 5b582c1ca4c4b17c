"""Texts in the form in which they are compared, and hashes of them.

The form is `splits.split_key`: case and white space make no difference.
"""

import numpy as np
import numpy.typing as npt

from modelyard.datasets.index import Flags, Hashes
from modelyard.datasets.kernels import kernel
from modelyard.datasets.splits import split_key
from modelyard.datasets.texts import Bytes, Ints, Texts

_WHITE = (32, *range(9, 14), *range(28, 32))
_FOLDED = np.array([32 if b in _WHITE else b + 32 if 65 <= b <= 90 else b for b in range(256)], np.uint8)
_C1 = np.uint64(0x87C37B91114253D5)
_C2 = np.uint64(0x4CF5AD432745937F)


def fold(texts: Texts) -> Texts:
    """Each text as `split_key` makes it; texts of ASCII alone without leaving the kernel."""
    data, offsets, is_ascii = _fold_ascii(texts.data, texts.offsets)
    others = np.flatnonzero(~is_ascii).tolist()
    return Texts(data, offsets).replaced({place: split_key(texts[place]) for place in others})


def hash128(texts: Texts) -> Hashes:
    """A hash of each text that never changes. Shape: (texts, 2). Source: Appleby's MurmurHash3_x64_128, seed 0."""
    hashes: Hashes = _murmur(texts.data, texts.offsets)
    return hashes


@kernel
def mix(value: np.uint64) -> np.uint64:
    """Spread every bit over the word: MurmurHash3's finaliser."""
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xFF51AFD7ED558CCD)
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))


@kernel
def _fold_ascii(data: Bytes, offsets: Ints) -> tuple[Bytes, Ints, Flags]:
    """Lower case, white space as one blank; texts with other bytes than ASCII come out wrong and are marked."""
    out = np.empty(len(data) + 1, np.uint8)
    ends = np.zeros(len(offsets), np.int64)
    is_ascii = np.ones(len(offsets) - 1, np.bool_)
    end = 0
    for text in range(len(offsets) - 1):
        begin = end
        seen = np.uint8(0)
        last = np.uint8(32)
        # No branches: a blank behind a blank is written over by what follows.
        for place in range(offsets[text], offsets[text + 1]):
            byte = data[place]
            seen |= byte
            folded = _FOLDED[byte]
            out[end] = folded
            end += (folded != 32) | (last != 32)
            last = folded
        if end > begin and out[end - 1] == 32:
            end -= 1
        ends[text + 1] = end
        is_ascii[text] = seen < 128
    return out[:end], ends, is_ascii


@kernel
def _word(data: Bytes, begin: int, size: int) -> np.uint64:
    """Some bytes as a number, the lowest first."""
    value = np.uint64(0)
    for place in range(size):
        value |= np.uint64(data[begin + place]) << np.uint64(8 * place)
    return value


@kernel
def _rotated(value: np.uint64, by: int) -> np.uint64:
    return (value << np.uint64(by)) | (value >> np.uint64(64 - by))


@kernel
def _murmur(data: Bytes, offsets: Ints) -> npt.NDArray[np.uint64]:
    out = np.empty((len(offsets) - 1, 2), np.uint64)
    for text in range(len(offsets) - 1):
        place, end = offsets[text], offsets[text + 1]
        size = np.uint64(end - place)
        h1 = np.uint64(0)
        h2 = np.uint64(0)
        while end - place >= 16:
            h1 ^= _rotated(_word(data, place, 8) * _C1, 31) * _C2
            h1 = (_rotated(h1, 27) + h2) * np.uint64(5) + np.uint64(0x52DCE729)
            h2 ^= _rotated(_word(data, place + 8, 8) * _C2, 33) * _C1
            h2 = (_rotated(h2, 31) + h1) * np.uint64(5) + np.uint64(0x38495AB5)
            place += 16
        rest = end - place
        if rest > 8:
            h2 ^= _rotated(_word(data, place + 8, rest - 8) * _C2, 33) * _C1
        if rest > 0:
            h1 ^= _rotated(_word(data, place, min(rest, 8)) * _C1, 31) * _C2
        h1 ^= size
        h2 ^= size
        h1 += h2
        h2 += h1
        h1 = mix(h1)
        h2 = mix(h2)
        h1 += h2
        h2 += h1
        out[text, 0] = h1
        out[text, 1] = h2
    return out
