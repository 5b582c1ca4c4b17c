"""Confidence that survives peeking: bounds that hold at every moment at once, however often one looks.

Three quantities: the mean of scores in [0, 1], the difference of two such means, and a share counted from yes and no.
Knows nothing of rollouts.

Sources: Waudby-Smith and Ramdas (2024), "Estimating means of bounded random variables by betting", JRSS B 86(1),
section 4 (hedged capital, predictable plug-in bets); Ville (1939) for the threshold; Robbins (1970) for mixtures.
"""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import special

CELLS = 500
"""Cells of the grid of candidate means: bounds are rounded outwards to 1/500."""

_TRUNCATION = 0.5
"""A bet never risks more than this share of its capital, as the paper recommends."""

_BLOCK = 256
"""Observations absorbed at once: bounds the scratch memory to a few megabytes."""

Floats = NDArray[np.float64]


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """An interval that holds the truth at all times at once, but for the promised alpha.

    Where the truth moved while it was watched, nothing may be left of it, and `low` lies above `high`.
    """

    low: float
    high: float


class BettingSequence:
    """A confidence sequence for the mean of scores in [0, 1], of any distribution.

    For each candidate mean m two gamblers start with half a unit each; one bets that the scores run higher than m, one
    that they run lower. Under the truth neither gets rich: where one reaches 1/alpha, m is ruled out for good. Both
    capitals are monotone in m, so what is ruled out on the grid is ruled out between its points too.
    """

    def __init__(self, alpha: float, *, cells: int = CELLS) -> None:
        if not 0 < alpha < 1:
            raise ValueError(f"alpha must lie strictly between 0 and 1, not {alpha}")
        self.alpha = alpha
        self.n = 0
        self.means: Floats = np.linspace(0.0, 1.0, cells + 1)
        self.log_above: Floats = np.zeros(cells + 1)
        """Shape (cells + 1,): log capital of the bets that the mean lies above each candidate; falls along the grid."""
        self.log_below: Floats = np.zeros(cells + 1)
        """Shape (cells + 1,): log capital of the bets that the mean lies below each candidate; rises along the grid."""
        self._peak_above: Floats = np.zeros(cells + 1)
        self._peak_below: Floats = np.zeros(cells + 1)
        with np.errstate(divide="ignore"):
            self._largest_bet_above = _TRUNCATION / self.means
            self._largest_bet_below = _TRUNCATION / (1.0 - self.means)
        self._sum = 0.0
        self._sum_squares = 0.0
        self._variance = 0.25

    @property
    def mean(self) -> float:
        """The mean of the scores so far; a half before the first."""
        return self._sum / self.n if self.n else 0.5

    @property
    def low(self) -> float:
        """The largest candidate that was ever ruled out from below; 0 while there is none."""
        return _last(self.means, self._peak_above >= np.log(2.0 / self.alpha), default=0.0)

    @property
    def high(self) -> float:
        """The smallest candidate that was ever ruled out from above; 1 while there is none."""
        return _first(self.means, self._peak_below >= np.log(2.0 / self.alpha), default=1.0)

    def absorb(self, score: float) -> None:
        """Take in one score."""
        self.extend((score,))

    def extend(self, scores: Iterable[float]) -> None:
        """Take in scores in their order: the same as one by one, and much faster. Raises: ValueError outside [0, 1]."""
        values = np.asarray(list(scores), dtype=np.float64)
        if not np.all((values >= 0.0) & (values <= 1.0)):
            raise ValueError(f"scores must lie in [0, 1]; seen {values[~((values >= 0.0) & (values <= 1.0))][0]}")
        for start in range(0, values.size, _BLOCK):
            self._absorb_block(values[start : start + _BLOCK])

    def _absorb_block(self, values: Floats) -> None:
        bets = self._bets(values)[:, None]
        gains = values[:, None] - self.means
        above = np.log1p(np.minimum(bets, self._largest_bet_above) * gains)
        below = np.log1p(-np.minimum(bets, self._largest_bet_below) * gains)
        above[0] += self.log_above
        below[0] += self.log_below
        np.cumsum(above, axis=0, out=above)
        np.cumsum(below, axis=0, out=below)
        self.log_above, self.log_below = above[-1].copy(), below[-1].copy()
        self._peak_above = np.maximum(self._peak_above, above.max(axis=0))
        self._peak_below = np.maximum(self._peak_below, below.max(axis=0))

    def _bets(self, values: Floats) -> Floats:
        """The predictable plug-in bets (paper, equation 26): each from the variance seen before its own score."""
        times = self.n + np.arange(1, values.size + 1)
        sums = self._sum + np.cumsum(values)
        squares = self._sum_squares + np.cumsum((values - (0.5 + sums) / (times + 1)) ** 2)
        variances = (0.25 + squares) / (times + 1)
        before = np.concatenate(([self._variance], variances[:-1]))
        self.n += values.size
        self._sum, self._sum_squares, self._variance = float(sums[-1]), float(squares[-1]), float(variances[-1])
        bets: Floats = np.sqrt(2.0 * np.log(2.0 / self.alpha) / (before * times * np.log1p(times)))
        return bets


def difference_bounds(first: BettingSequence, second: BettingSequence) -> Bounds:
    """Bounds on mean(second) - mean(first) of two independent arms, at the alpha that both carry.

    A difference d is ruled out when for every pair of means d apart the *product* of one gambler's capital on each arm
    reaches 2/alpha (one side each for alpha/2). The product of two arms' capitals is a test martingale again, because
    each score moves one factor; against a box of two intervals at alpha/2 it needs about half the scores.
    """
    if first.alpha != second.alpha or first.means.size != second.means.size:
        raise ValueError("both arms must have the same alpha and the same grid")
    threshold = float(np.log(2.0 / first.alpha))
    low = _largest_excluded(first.log_below, second.log_above, threshold)
    high = -_largest_excluded(second.log_below, first.log_above, threshold)
    return Bounds(low=low, high=high)


def paired_bounds(first: Sequence[float], second: Sequence[float], alpha: float) -> Bounds:
    """Bounds on mean(second - first) for scores of the same requests, in the order of the pairs.

    The differences lie in [-1, 1] and are watched as (1 + difference) / 2.
    """
    sequence = BettingSequence(alpha)
    sequence.extend((1.0 + after - before) / 2.0 for before, after in zip(first, second, strict=True))
    return Bounds(low=2.0 * sequence.low - 1.0, high=2.0 * sequence.high - 1.0)


def share_low(hits: int, total: int, alpha: float) -> float:
    """A lower bound on a share, from counts alone, that holds at all times at once.

    Against "the share is at most p" bets the mixture of all larger shares, weighted evenly. Unit: a share, rounded down
    to 1/1000. Source: Robbins (1970); the mixture is cut off at p, which makes it one-sided.
    """
    if hits == 0:
        return 0.0
    shares = np.linspace(0.0, 1.0, 1001)[1:-1]
    misses = total - hits
    with np.errstate(divide="ignore"):
        mixture = special.betaln(hits + 1, misses + 1) + np.log(special.betaincc(hits + 1, misses + 1, shares))
    evidence = mixture - np.log1p(-shares) - hits * np.log(shares) - misses * np.log1p(-shares)
    excluded = evidence >= np.log(1.0 / alpha)
    reached = int(np.argmin(excluded)) if not excluded.all() else shares.size
    return float(shares[reached - 1]) if reached else 0.0


def _largest_excluded(first_below: Floats, second_above: Floats, threshold: float) -> float:
    """The largest difference d, on the grid, such that every pair (m, m + d) has a joint log capital at the threshold.

    In a cell the sum is at least that of its worst corner, so nothing between the grid points is missed. The excluded
    differences have no gaps, hence the bisection. -1 while there is none.
    """
    cells = first_below.size - 1
    excluded, open_ = -cells, cells
    while open_ - excluded > 1:
        shift = (excluded + open_) // 2
        start, stop = max(0, -shift), cells - max(0, shift)
        joint = first_below[start:stop] + second_above[start + shift + 1 : stop + shift + 1]
        if joint.min() >= threshold:
            excluded = shift
        else:
            open_ = shift
    return excluded / cells


def _last(values: Floats, chosen: NDArray[np.bool_], *, default: float) -> float:
    found = np.flatnonzero(chosen)
    return float(values[found[-1]]) if found.size else default


def _first(values: Floats, chosen: NDArray[np.bool_], *, default: float) -> float:
    found = np.flatnonzero(chosen)
    return float(values[found[0]]) if found.size else default
