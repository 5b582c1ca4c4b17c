"""Texts in the form in which they are compared, and hashes of them.

The form is `splits.split_key`: case and white space make no difference.
"""

import numpy as np
import numpy.typing as npt

from modelyard.datasets.index import Flags, Hashes
from modelyard.datasets.kernels import inlined, kernel
from modelyard.datasets.splits import split_key
from modelyard.datasets.texts import Bytes, Ints, Texts

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


@inlined
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
    out = _lowered(data)
    ends = np.zeros(len(offsets), np.int64)
    is_ascii = np.ones(len(offsets) - 1, np.bool_)
    end = 0
    for text in range(len(offsets) - 1):
        begin, size = offsets[text], offsets[text + 1] - offsets[text]
        low = out[begin : begin + size]
        seen = np.uint8(0)
        for place in range(size):
            seen |= low[place]
        is_ascii[text] = seen < 128
        # What is written never overtakes what is read.
        if _is_tight(low):
            if end < begin:
                out[end : end + size] = low
            end += size
        else:
            end += _tighten(low, out[end : end + size])
        ends[text + 1] = end
    return out[:end], ends, is_ascii


@kernel
def _lowered(data: Bytes) -> Bytes:
    """Each byte folded by arithmetic alone, which compiles to many bytes at a time."""
    out = np.empty(len(data), np.uint8)
    for place in range(len(data)):
        byte = data[place]
        is_white = ((byte >= 9) & (byte <= 13)) | ((byte >= 28) & (byte <= 31))
        is_upper = (byte >= 65) & (byte <= 90)
        out[place] = np.uint8(32) if is_white else byte | np.uint8(32) if is_upper else byte
    return out


@kernel
def _is_tight(low: Bytes) -> bool:
    """Whether blanks stand alone, and not at an end."""
    doubled = np.uint8(0)
    for place in range(1, len(low)):
        doubled |= np.uint8((low[place] == 32) & (low[place - 1] == 32))
    return doubled == 0 and (len(low) == 0 or (low[0] != 32 and low[len(low) - 1] != 32))


@kernel
def _tighten(low: Bytes, out: Bytes) -> int:
    """Write the text with single blanks; returns its length."""
    end = 0
    last = np.uint8(32)
    # No branches: a blank behind a blank is written over by what follows.
    for place in range(len(low)):
        byte = low[place]
        out[end] = byte
        end += (byte != 32) | (last != 32)
        last = byte
    return end - 1 if end and last == 32 else end


@inlined
def _word(data: Bytes, begin: int, size: int) -> np.uint64:
    """Some bytes as a number, the lowest first."""
    value = np.uint64(0)
    for place in range(size):
        value |= np.uint64(data[begin + place]) << np.uint64(8 * place)
    return value


@inlined
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
