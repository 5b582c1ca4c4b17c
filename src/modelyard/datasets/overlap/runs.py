"""Runs of words that texts share with a reference: one pass over the bytes, with a Bloom filter before the search."""

from dataclasses import dataclass

import numpy as np

from modelyard.datasets.duplicates.folding import mix
from modelyard.datasets.duplicates.shingles import next_word
from modelyard.datasets.index import Hashes
from modelyard.datasets.kernels import kernel
from modelyard.datasets.texts import Bytes, Ints, Texts

_JOIN = np.uint64(0x9E3779B97F4A7C15)
_ONE = np.uint64(1)
_SIX_BITS = np.uint64(63)
# Of the filter for each run: with two bits set, fewer than one run in fifty is looked up in vain.
_FILTER_BITS = 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Runs:
    """The hashes of all runs of `ngram` words of some texts, rising, and a filter over them.

    Shapes: hashes (runs,); filter (words,), a power of two.
    """

    ngram: int
    hashes: Hashes
    filter: Hashes

    @classmethod
    def of(cls, folded: Texts, ngram: int) -> "Runs":
        """From folded texts. A text of fewer words has no run."""
        hashes = np.unique(_hashes(folded.data, folded.offsets, ngram))
        size = 1 << max(0, (len(hashes) * _FILTER_BITS // 64 - 1)).bit_length()
        return cls(ngram=ngram, hashes=hashes, filter=_filter(hashes, size))

    def first_shared(self, folded: Texts) -> tuple[Ints, Ints]:
        """The first run of each folded text that is one of these: the bytes where it begins and ends.

        Shapes: (texts,); both count from the beginning of `folded.data` and are -1 where there is none.
        """
        begins, ends = _first_shared(folded.data, folded.offsets, self.ngram, self.hashes, self.filter)
        return begins, ends


@kernel
def _step(running: np.uint64, ring: Hashes, count: int, hashed: np.uint64, power: np.uint64) -> np.uint64:
    """Take a word into the running hash of the last words, and the oldest out: Karp and Rabin (1987)."""
    at = count % len(ring)
    gone = ring[at] if count >= len(ring) else np.uint64(0)
    ring[at] = hashed
    return running * _JOIN + hashed - gone * power


@kernel
def _power(ngram: int) -> np.uint64:
    power = _ONE
    for _ in range(ngram):
        power *= _JOIN
    return power


@kernel
def _hashes(data: Bytes, offsets: Ints, ngram: int) -> Hashes:
    """The hash of every run of `ngram` words."""
    out = np.empty(len(data) // 2 + len(offsets), np.uint64)
    ring = np.zeros(ngram, np.uint64)
    power = _power(ngram)
    end = 0
    for text in range(len(offsets) - 1):
        place = offsets[text]
        count = 0
        running = np.uint64(0)
        while True:
            hashed, begin, place = next_word(data, place, offsets[text + 1])
            if begin == place:
                break
            running = _step(running, ring, count, hashed, power)
            count += 1
            if count >= ngram:
                out[end] = mix(running)
                end += 1
    return out[:end].copy()


@kernel
def _marks(hashed: np.uint64) -> np.uint64:
    return (_ONE << (hashed & _SIX_BITS)) | (_ONE << ((hashed >> np.uint64(6)) & _SIX_BITS))


@kernel
def _filter(hashes: Hashes, size: int) -> Hashes:
    words = np.zeros(size, np.uint64)
    last = np.uint64(size - 1)
    for place in range(len(hashes)):
        words[(hashes[place] >> np.uint64(12)) & last] |= _marks(hashes[place])
    return words


@kernel
def _first_shared(data: Bytes, offsets: Ints, ngram: int, known: Hashes, words: Hashes) -> tuple[Ints, Ints]:
    begins = np.full(len(offsets) - 1, -1, np.int64)
    ends = np.full(len(offsets) - 1, -1, np.int64)
    ring = np.zeros(ngram, np.uint64)
    starts = np.zeros(ngram, np.int64)
    power = _power(ngram)
    last = np.uint64(len(words) - 1)
    for text in range(len(offsets) - 1):
        place = offsets[text]
        count = 0
        running = np.uint64(0)
        while True:
            hashed, begin, place = next_word(data, place, offsets[text + 1])
            if begin == place:
                break
            starts[count % ngram] = begin
            running = _step(running, ring, count, hashed, power)
            count += 1
            if count < ngram:
                continue
            run = mix(running)
            marks = _marks(run)
            if words[(run >> np.uint64(12)) & last] & marks == marks and _holds(known, run):
                begins[text] = starts[count % ngram]
                ends[text] = place
                break
    return begins, ends


@kernel
def _holds(known: Hashes, hashed: np.uint64) -> bool:
    """Whether a hash is among rising ones."""
    low, high = 0, len(known)
    while low < high:
        middle = (low + high) // 2
        if known[middle] < hashed:
            low = middle + 1
        else:
            high = middle
    return low < len(known) and known[low] == hashed
