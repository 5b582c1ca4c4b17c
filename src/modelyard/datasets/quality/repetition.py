"""How much of a text says again what it has said.

Source: Rae et al. (2021), Gopher, table A1: the share of characters in n-grams that come again.
"""

import numpy as np
import numpy.typing as npt

from modelyard.datasets.duplicates.folding import fold, mix
from modelyard.datasets.duplicates.shingles import next_word
from modelyard.datasets.index import Hashes
from modelyard.datasets.kernels import kernel
from modelyard.datasets.texts import Bytes, Ints, Texts

_RUN = 5
_MIN_WORDS = 20
_JOIN = np.uint64(0x9E3779B97F4A7C15)


def repeated_share(texts: Texts) -> npt.NDArray[np.float64]:
    """The share of the words of each text that stand in a run of five words that was there before. Shape: (texts,).

    0 for texts of fewer than twenty words.
    """
    folded = fold(texts)
    shares: npt.NDArray[np.float64] = _shares(folded.data, folded.offsets)
    return shares


@kernel
def _shares(data: Bytes, offsets: Ints) -> npt.NDArray[np.float64]:
    out = np.zeros(len(offsets) - 1, np.float64)
    longest = 0
    for text in range(len(offsets) - 1):
        longest = max(longest, offsets[text + 1] - offsets[text])
    words = np.empty(longest // 2 + 1, np.uint64)
    for text in range(len(offsets) - 1):
        place = offsets[text]
        count = 0
        while True:
            hashed, begin, place = next_word(data, place, offsets[text + 1])
            if begin == place:
                break
            words[count] = hashed
            count += 1
        if count >= _MIN_WORDS:
            out[text] = _num_covered(words[:count]) / count
    return out


@kernel
def _num_covered(words: Hashes) -> int:
    """How many words stand in a run that was there before."""
    size = 64
    while size < 2 * len(words):
        size *= 2
    # A table with open addresses; 0 is a free slot, and no run is taken for it.
    seen = np.zeros(size, np.uint64)
    last = np.uint64(size - 1)
    covered = 0
    end = 0
    for start in range(len(words) - _RUN + 1):
        run = np.uint64(0)
        for step in range(_RUN):
            run = run * _JOIN + words[start + step]
        run = mix(run) | np.uint64(1)
        slot = (run >> np.uint64(1)) & last
        while seen[slot] != 0 and seen[slot] != run:
            slot = (slot + np.uint64(1)) & last
        if seen[slot] == run:
            covered += start + _RUN - max(start, end)
            end = start + _RUN
        seen[slot] = run
    return covered
