"""Confidence that survives peeking: bounds that hold at every moment at once, however often one looks.

Three quantities: the mean of scores in [0, 1], the difference of two such means, and a share counted from yes and no.
Knows nothing of rollouts.

Sources: Waudby-Smith and Ramdas (2024), "Estimating means of bounded random variables by betting", JRSS B 86(1):
hedged capital, with their diversified bets (a mixture over constant fractions) in place of the predictable plug-in.
The mixture does not depend on the order of the scores, so feedback that comes late changes no guarantee, and two arms
can be multiplied (see `difference_bounds`), which halves the answers needed. Ville (1939) for the threshold; Robbins
(1970) for mixtures.
"""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import special

CELLS = 1000
"""Cells of the grid of candidate means: bounds are rounded outwards to 1/1000."""

LEVELS = 100
"""Scores are kept as a histogram over the levels 0, 1/100, ..., 1."""

Floats = NDArray[np.float64]

# Each bet risks a fixed fraction of the capital. A bet of half or twice the best size still grows three quarters as
# fast, so powers of two cover every effect; larger bets weigh more, because great harm should be seen first.
_FRACTIONS: Floats = 0.95 / 2.0 ** np.arange(10, dtype=np.float64)
_WEIGHTS: Floats = 1.0 / np.arange(1, 11, dtype=np.float64)
_LOG_WEIGHTS: Floats = np.log(_WEIGHTS / _WEIGHTS.sum())


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

    A score between two levels counts for both, by its nearness. The mean stays exact, and as log capital is concave in
    the score this can only understate the evidence.
    """

    def __init__(self, alpha: float, *, cells: int = CELLS) -> None:
        if not 0 < alpha < 1:
            raise ValueError(f"alpha must lie strictly between 0 and 1, not {alpha}")
        self.alpha = alpha
        self.n = 0
        self.low = 0.0
        """The largest candidate that was ruled out from below at any look; 0 while there is none."""
        self.high = 1.0
        """The smallest candidate that was ruled out from above at any look; 1 while there is none."""
        self._sum = 0.0
        self._histogram: Floats = np.zeros(LEVELS + 1)
        self._candidates: Floats = np.linspace(0.0, 1.0, cells + 1)

    @property
    def mean(self) -> float:
        """The mean of the scores so far; a half before the first."""
        return self._sum / self.n if self.n else 0.5

    def absorb(self, score: float) -> None:
        """Take in one score, and look."""
        self.extend((score,))

    def extend(self, scores: Iterable[float]) -> None:
        """Take in scores, and look once. Raises: ValueError for a score outside [0, 1]."""
        values = np.asarray(list(scores), dtype=np.float64)
        inside = (values >= 0.0) & (values <= 1.0)
        if not inside.all():
            raise ValueError(f"scores must lie in [0, 1]; seen {values[~inside][0]}")
        lower = np.minimum((values * LEVELS).astype(np.intp), LEVELS - 1)
        nearness = values * LEVELS - lower
        np.add.at(self._histogram, lower, 1.0 - nearness)
        np.add.at(self._histogram, lower + 1, nearness)
        self.n += values.size
        self._sum += float(values.sum())
        self._look()

    def log_capitals(self) -> tuple[Floats, Floats]:
        """The log capital betting above each candidate (falls along the grid), and below each (rises).

        Shapes: both (cells + 1,).
        """
        levels = np.flatnonzero(self._histogram)
        counts, values = self._histogram[levels], levels / LEVELS
        above = np.tensordot(counts, _log_growth(values, self._candidates), axes=1)
        below = np.tensordot(counts, _log_growth(1.0 - values, 1.0 - self._candidates), axes=1)
        return _mix(above), _mix(below)

    def _look(self) -> None:
        above, below = self.log_capitals()
        threshold = np.log(2.0 / self.alpha)
        too_low = np.flatnonzero(above >= threshold)
        too_high = np.flatnonzero(below >= threshold)
        if too_low.size:
            self.low = max(self.low, float(self._candidates[too_low[-1]]))
        if too_high.size:
            self.high = min(self.high, float(self._candidates[too_high[0]]))


def difference_bounds(first: BettingSequence, second: BettingSequence) -> Bounds:
    """Bounds on mean(second) - mean(first) of two independent arms, at the alpha that both carry.

    The product of the arms' hedged capitals at their true means is a test martingale, because each score moves one
    factor: the pairs of means where it stays below 1/alpha are a confidence region, and the bounds are the least and
    the greatest difference in it. Against a box of two intervals at alpha/2 this needs about half the scores.
    """
    if first.alpha != second.alpha:
        raise ValueError(f"both arms must carry the same alpha, not {first.alpha} and {second.alpha}")
    threshold = float(np.log(1.0 / first.alpha))
    first_cells, second_cells = _least_in_cells(first), _least_in_cells(second)
    low = _excluded_up_to(first_cells, second_cells, threshold)
    high = -_excluded_up_to(second_cells, first_cells, threshold)
    return Bounds(low=low, high=high)


def paired_bounds(first: Sequence[float], second: Sequence[float], alpha: float) -> Bounds:
    """Bounds on mean(second - first) for scores of the same requests, pair by pair.

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
    reached = shares.size if excluded.all() else int(np.argmin(excluded))
    return float(shares[reached - 1]) if reached else 0.0


def _log_growth(values: Floats, means: Floats) -> Floats:
    """How each bet that the mean is higher multiplies its capital, in logs. Shape: (values, fractions, means).

    The bet f / m on a score x multiplies by 1 + (f / m)(x - m). At m = 0 any score above it proves m wrong.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(values[:, None] == means, 1.0, values[:, None] / means)
    growth: Floats = np.log1p(_FRACTIONS[:, None] * (ratios[:, None, :] - 1.0))
    return growth


def _mix(log_capitals: Floats) -> Floats:
    """The log of the weighted sum over the fractions. Shape: (fractions, means) to (means,)."""
    weighted = log_capitals + _LOG_WEIGHTS[:, None]
    top = weighted.max(axis=0)
    with np.errstate(invalid="ignore"):
        mixed: Floats = np.where(np.isinf(top), top, top + np.log(np.exp(weighted - top).sum(axis=0)))
    return mixed


def _least_in_cells(sequence: BettingSequence) -> Floats:
    """A floor for the log of the hedged capital in each cell: each gambler at the end where that one has least.

    Shape: (cells,).
    """
    above, below = sequence.log_capitals()
    floor: Floats = np.logaddexp(above[1:], below[:-1]) - np.log(2.0)
    return floor


def _excluded_up_to(first: Floats, second: Floats, threshold: float) -> float:
    """The largest d, on the grid, such that no pair of means with second - first <= d is left. -1 while there is none.

    Shapes: both (cells,).
    """
    cells = first.size
    second_up_to = np.minimum.accumulate(second)
    excluded, still_open = -cells, cells
    while still_open - excluded > 1:
        shift = (excluded + still_open) // 2
        start = max(0, -shift)
        reach = np.minimum(np.arange(start, cells) + shift, cells - 1)
        if (first[start:] + second_up_to[reach]).min() >= threshold:
            excluded = shift
        else:
            still_open = shift
    return excluded / cells
