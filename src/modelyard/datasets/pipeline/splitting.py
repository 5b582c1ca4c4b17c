"""The split of each row.

By default it depends on the row alone: on its text before personal data is masked, or on its group. So no other row
can move it. With `stratify` every label gets its share of each split, which no rule can do that looks at one row
alone; then rows are counted in their order, and rows that come at the end move no earlier one.
"""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt

from modelyard.datasets.index import Hashes
from modelyard.datasets.splits import SPLITS
from modelyard.datasets.texts import Ints, Texts

# 2 to the 64th over the golden ratio: its multiples lie as evenly on a circle as any can.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def split_hashes(keys: Texts, salt: str) -> Hashes:
    """Where each key lies on the circle of 64 bits; see `splits.split_of`. Shape: (keys,)."""
    view = memoryview(keys.data.tobytes())
    ends = keys.offsets.tolist()
    salted = hashlib.sha256(f"{salt}\x00".encode())
    digests = []
    for begin, end in pairwise(ends):
        running = salted.copy()
        running.update(view[begin:end])
        digests.append(running.digest()[:8])
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)


def cut(hashes: Hashes, shares: Mapping[str, float]) -> npt.NDArray[np.int8]:
    """The number in SPLITS of the split that owns each place on the circle, as `splits.split_of` cuts it."""
    names = list(shares)
    bounds = np.array(list(accumulate(shares.values())))
    found = np.searchsorted(bounds, hashes.astype(np.float64) / 2.0**64, side="right")
    numbers = np.array([SPLITS.index(name) for name in names], np.int8)
    return numbers[np.minimum(found, len(names) - 1)]


def stratified(hashes: Hashes, strata: Ints, names: Sequence[str], shares: Mapping[str, float], salt: str) -> Hashes:
    """Other places on the circle, so that every stratum is cut into the shares as evenly as its rows allow.

    Rows with equal hashes are one group and stay together, in the stratum of the first of them. The groups of a
    stratum take the multiples of the golden ratio one after the other, from a begin of the stratum's own: of any n
    in a row, each split gets its share to within two.
    Shapes: hashes, strata (rows,); `strata` counts in `names`. Source: Weyl (1916); Knuth, TAOCP 3, section 6.4.
    """
    _, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    of_group = strata[first]
    order = np.lexsort((first, of_group))
    sizes = np.bincount(of_group, minlength=len(names))
    begins = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    turn = np.empty(len(first), np.uint64)
    turn[order] = np.arange(len(first)) - begins[of_group[order]]
    offsets = split_hashes(Texts.of(names), salt)
    return (offsets[of_group] + turn * _GOLDEN)[group]
