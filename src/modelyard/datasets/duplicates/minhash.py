"""MinHash in bands: rows whose sets of shingles are alike agree, most likely, in some band.

One hash of each shingle is enough: it falls into one of the bins, and each bin keeps its least hash. Empty bins are
filled from bins that are picked by a hash of their own, so that two sets still agree in a bin with the probability of
their Jaccard similarity. Sources: Li, Owen, Zhang (2012), one permutation hashing; Shrivastava (2017), optimal
densification.
"""

from math import ceil, log
from typing import Any

import numpy as np
import numpy.typing as npt

from modelyard.datasets.duplicates.config import NearDuplicatesConfig
from modelyard.datasets.duplicates.folding import mix
from modelyard.datasets.duplicates.shingles import next_word, push
from modelyard.datasets.index import Hashes
from modelyard.datasets.kernels import kernel
from modelyard.datasets.texts import Bytes, Ints, Texts

_JOIN = np.uint64(0x9E3779B97F4A7C15)
NO_KEY = np.uint64(0xFFFFFFFFFFFFFFFF)
_EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)
# Of pairs right at the threshold, and how many bands that may cost: each is sorted over all rows.
_RECALL = 0.99
_MOST_BANDS = 12
_MOST_ROWS = 12


def banding(threshold: float) -> tuple[int, int]:
    """Bands, and bins joined in each, so that a pair at the threshold meets with the probability `_RECALL`.

    Of b bands of r bins, two sets of similarity s agree in one with probability 1 - (1 - s^r)^b. Many bins in a band
    keep unlike rows apart; two at least.
    """
    for rows in range(_MOST_ROWS, 1, -1):
        chance = threshold**rows
        bands = 1 if chance == 1 else ceil(log(1 - _RECALL) / log(1 - chance))
        if bands <= _MOST_BANDS or rows == 2:
            return bands, rows
    raise AssertionError("two rows a band always do")


def band_keys(folded: Texts, config: NearDuplicatesConfig) -> Hashes:
    """The key of each text in each band. Shape: (texts, bands). A text without words has `NO_KEY` in all."""
    bands, rows = banding(config.threshold)
    keys: Hashes = _band_keys(folded.data, folded.offsets, config.words, bands, rows)
    return keys


@kernel
def _band_keys(data: Bytes, offsets: Ints, words: int, bands: int, rows: int) -> npt.NDArray[np.uint64]:
    num_bins = bands * rows
    keys = np.zeros((len(offsets) - 1, bands), np.uint64)
    bins = np.empty(num_bins, np.uint64)
    last = np.zeros(words, np.uint64)
    for text in range(len(offsets) - 1):
        bins[:] = _EMPTY
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
                # The upper half picks the bin, the lower half and the rest are compared.
                number = np.int64(((run >> np.uint64(32)) * np.uint64(num_bins)) >> np.uint64(32))
                value = run << np.uint64(32) | run >> np.uint64(32)
                bins[number] = min(bins[number], value)
        if count == 0:
            # It has nothing in common with any other text.
            for band in range(bands):
                keys[text, band] = _EMPTY
            continue
        for band in range(bands):
            key = np.uint64(band + 1)
            for row in range(rows):
                key = mix(key * _JOIN + _filled(bins, band * rows + row))
            keys[text, band] = key
    return keys


@kernel
def _filled(bins: Hashes, number: int) -> Any:
    """What a bin holds; an empty one what the first full bin holds that its own sequence of bins meets."""
    found = np.int64(number)
    attempt = np.uint64(0)
    while bins[found] == _EMPTY:
        attempt += np.uint64(1)
        drawn = mix(np.uint64(number) * _JOIN + attempt)
        found = np.int64(((drawn >> np.uint64(32)) * np.uint64(len(bins))) >> np.uint64(32))
    return bins[found]
