"""A sample of the rows by the hash of each, and the languages they are in.

The sample holds the rows with the smallest hashes, so it is the same in whatever order the rows come.
"""

import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from modelyard.datasets.index import Hashes
from modelyard.datasets.rows import Rows

SAMPLE_ROWS = 500
_EXCERPT_CHARS = 400


@dataclass(slots=True, eq=False)
class Sample:
    """The beginnings of some rows, each under the hash of its row."""

    texts: list[tuple[int, str]] = field(default_factory=list)

    def add(self, rows: Rows, hashes: Hashes) -> None:
        """Offer some rows. Shape: hashes (rows,)."""
        bound = np.uint64(self.texts[-1][0] if len(self.texts) == SAMPLE_ROWS else 2**64 - 1)
        chosen = hashes <= bound
        if chosen.sum() > SAMPLE_ROWS:
            chosen &= hashes <= np.partition(hashes[chosen], SAMPLE_ROWS - 1)[SAMPLE_ROWS - 1]
        if chosen.any():
            texts = (text[:_EXCERPT_CHARS] for text in rows.take(chosen).subjects().to_list())
            self._keep(zip(hashes[chosen].tolist(), texts, strict=True))

    def merge(self, other: "Sample") -> None:
        """Add what another one holds."""
        self._keep(other.texts)

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the report: rows of the sample by language (ISO 639-1), commonest first."""
        from modelyard.datasets.quality.language import language_of

        found = Counter(language_of(text) or "unknown" for _, text in self.texts)
        ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
        return {"sampled": len(self.texts), "rows": dict(ranked)}

    def _keep(self, more: Any) -> None:
        self.texts = heapq.nsmallest(SAMPLE_ROWS, [*self.texts, *more])
