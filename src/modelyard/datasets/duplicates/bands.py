"""The band keys of all rows on disk: one file a band, so that memory holds one band at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from modelyard.datasets.duplicates.minhash import NO_KEY
from modelyard.datasets.index import Flags, Hashes
from modelyard.datasets.kernels import kernel
from modelyard.datasets.texts import Ints

# In a bucket each row is compared with the first row and with this many before it: all pairs of a small bucket,
# a bounded number of a large one.
_WINDOW = 8


class BandStore:
    """Keys that grow block by block, and are read band by band."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: list[BinaryIO] = []

    def append(self, keys: Hashes) -> None:
        """Add the keys of more rows. Shape: (rows, bands)."""
        if not self._files:
            self._files = [(self._folder / f"band-{band:02d}.column").open("w+b") for band in range(keys.shape[1])]
        for file, column in zip(self._files, keys.T, strict=True):
            file.write(np.ascontiguousarray(column).tobytes())

    def bands(self) -> Iterator[Hashes]:
        """The keys of all rows in one band after the other. Shape of each: (rows,)."""
        for file in self._files:
            file.flush()
            yield np.fromfile(file.name, np.uint64)

    def close(self) -> None:
        """Give the files back."""
        for file in self._files:
            file.close()


def meetings(keys: Hashes, rank: Ints, alive: Flags) -> tuple[Ints, Ints]:
    """Pairs of rows that share a key in one band. Shapes: (pairs,); the first of a pair has the lower rank.

    In a bucket of up to ten rows every pair is there. In a larger one, where rows are compared with the first and the
    eight before them, two rows meet in some other band, or through the rows between them.
    """
    places = np.flatnonzero(alive & (keys != NO_KEY))
    order = places[np.argsort(keys[places], kind="stable")]
    sorted_keys = keys[order]
    is_shared = np.zeros(len(order), bool)
    is_same = sorted_keys[1:] == sorted_keys[:-1]
    is_shared[1:] |= is_same
    is_shared[:-1] |= is_same
    order, sorted_keys = order[is_shared], sorted_keys[is_shared]
    order = order[np.lexsort((rank[order], sorted_keys))]
    return _pairs(sorted_keys, order)


@kernel
def _pairs(keys: Hashes, order: Ints) -> tuple[Ints, Ints]:
    """Pairs within runs of equal keys."""
    left = np.empty((_WINDOW + 1) * len(order), np.int64)
    right = np.empty((_WINDOW + 1) * len(order), np.int64)
    count = 0
    first = 0
    for place in range(len(order)):
        if keys[place] != keys[first]:
            first = place
        for other in range(max(first, place - _WINDOW), place):
            left[count] = order[other]
            right[count] = order[place]
            count += 1
        if first < place - _WINDOW:
            left[count] = order[first]
            right[count] = order[place]
            count += 1
    return left[:count].copy(), right[:count].copy()
