"""A histogram of lengths, from one to a million: two bins for each doubling, so that its memory is bounded."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from modelyard.datasets.texts import Ints

_BOUNDS = np.array(sorted({0, 1, *(2**n for n in range(1, 21)), *(3 * 2 ** (n - 1) for n in range(1, 20))}))
_QUANTILES = {"p50": 0.5, "p95": 0.95}


@dataclass(slots=True, eq=False)
class Histogram:
    """Rows by length, with the exact total and extremes. Shape: counts (bins,); the last bin is open."""

    counts: Ints = field(default_factory=lambda: np.zeros(len(_BOUNDS), np.int64))
    total: int = 0
    min: int = 0
    max: int = 0

    @property
    def rows(self) -> int:
        """Rows counted."""
        return int(self.counts.sum())

    def add(self, lengths: npt.NDArray[np.integer[Any]]) -> None:
        """Count some lengths. Shape: (rows,)."""
        if not len(lengths):
            return
        bins = np.searchsorted(_BOUNDS, lengths, side="right") - 1
        self.merge(
            Histogram(
                np.bincount(bins, minlength=len(_BOUNDS)), int(lengths.sum()), int(lengths.min()), int(lengths.max())
            )
        )

    def merge(self, other: "Histogram") -> None:
        """Add what another one counted."""
        if not other.rows:
            return
        self.min = min(self.min, other.min) if self.rows else other.min
        self.max = max(self.max, other.max)
        self.counts = self.counts + other.counts
        self.total += other.total

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the report. The quantiles are read off the bins: good to a quarter of their value."""
        rows = self.rows
        if not rows:
            return {"rows": 0, "total": 0, "bins": []}
        used = np.flatnonzero(self.counts)
        return {
            "rows": rows,
            "total": self.total,
            "min": self.min,
            "max": self.max,
            "mean": round(self.total / rows, 2),
            **{name: self._quantile(share) for name, share in _QUANTILES.items()},
            "bins": [
                {
                    "from": int(_BOUNDS[number]),
                    "to": int(_BOUNDS[number + 1]) if number + 1 < len(_BOUNDS) else None,
                    "rows": int(self.counts[number]),
                }
                for number in range(used[0], used[-1] + 1)
            ],
        }

    def _quantile(self, share: float) -> int:
        """The length below which a share of the rows lie, taking those of a bin to be spread evenly."""
        wanted = share * self.rows
        number = int(np.searchsorted(np.cumsum(self.counts), wanted))
        below = int(self.counts[:number].sum())
        low = int(_BOUNDS[number])
        high = int(_BOUNDS[number + 1]) if number + 1 < len(_BOUNDS) else self.max + 1
        found = low + (wanted - below) / int(self.counts[number]) * (high - low)
        return int(min(max(found, self.min), self.max))
