"""Length balancing: no length takes more than its share of the training rows."""

import numpy as np

from modelyard.core.errors import DataInvalid
from modelyard.datasets.index import Drops, Flags, Hashes, Index
from modelyard.datasets.quality.config import BalanceConfig
from modelyard.datasets.texts import Ints

_CAUSES = ("length balance: rows from {a:.0f} characters take more than their share of {b:.0%}",)


def balance(index: Index, alive: Flags, hashes: Hashes, config: BalanceConfig) -> Drops:
    """The training rows that go so that each bucket of lengths has at most `max_share` of those that stay.

    Within a bucket the rows with the lowest hashes stay, so the order of the files makes no difference.
    Shapes: alive, hashes (rows,). Raises: DataInvalid where no dropping can bring the buckets to that share.
    """
    places = np.flatnonzero(alive & (index.split == 0))
    bucket = np.searchsorted(np.array(config.bounds), index.num_chars[places], side="right")
    sizes = np.bincount(bucket, minlength=len(config.bounds) + 1)
    cap = largest_cap(sizes, config.max_share)
    order = np.lexsort((hashes[places], bucket))
    rank = np.empty(len(places), np.int64)
    begins = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    rank[order] = np.arange(len(places)) - begins[bucket[order]]
    lost = rank >= cap
    floors = np.concatenate([[0], np.array(config.bounds)])[bucket[lost]]
    return Drops(
        places=places[lost],
        causes=_CAUSES,
        cause=np.zeros(int(lost.sum()), np.uint8),
        witness=np.full(int(lost.sum()), -1, np.int64),
        numbers=np.stack([floors, np.full(len(floors), config.max_share)], axis=1).astype(np.float64),
    )


def largest_cap(sizes: Ints, share: float) -> int:
    """The largest cap c for which no bucket of min(size, c) rows has more than `share` of their sum.

    The fullest bucket has c rows of S(c), the sum of min(size, c). S is concave in c and 0 at 0, so c / S(c) never
    falls while c grows: bisection finds the last c at which it is within the share. It begins at one over the number
    of buckets that hold rows. Raises: DataInvalid where that is above the share already, as no cap can help.
    """
    num_filled = int((sizes > 0).sum())
    if num_filled == 0:
        return 0
    # A share such as 0.29 is no sum of halves: without the margin, 29 of 100 rows would be more.
    share *= 1 + 1e-9
    if share * num_filled < 1:
        raise DataInvalid(
            f"the training rows fall into {num_filled} of the {len(sizes)} buckets of length",
            expected=f"enough buckets for none to hold more than {share:.0%} of the rows",
            fix="set `balance.bounds` to lengths that part the rows, or raise `balance.max_share`",
        )
    low, high = 1, int(sizes.max())
    if high <= share * sizes.sum():
        return high
    while low < high:
        middle = (low + high + 1) // 2
        if middle <= share * np.minimum(sizes, middle).sum():
            low = middle
        else:
            high = middle - 1
    return low
