"""How often each label occurs in each split, in bounded memory.

Kept are the labels with the smallest hashes. Which these are depends on the labels alone, so the counts of those kept
are exact in whatever order the rows come; and how small their hashes are tells how many labels there are in all.
Source: Bar-Yossef et al. (2002), "Counting Distinct Elements in a Data Stream", algorithm 2 (k minimum values).
"""

import heapq
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from modelyard.datasets.duplicates.folding import hash128
from modelyard.datasets.splits import SPLITS
from modelyard.datasets.texts import Texts

MAX_LABELS = 1_000
_EXCERPT_CHARS = 160
_HASH_BITS = 64


@dataclass(slots=True, eq=False)
class LabelCounts:
    """Rows by label and split. `kept` has, by hash, the label (cut short) and its rows in each of SPLITS."""

    kept: dict[int, tuple[str, list[int]]] = field(default_factory=dict)
    unlabelled: int = 0
    is_full: bool = False

    def add(self, split: str, labels: Texts, unlabelled: int = 0) -> None:
        """Count the labels of a split's rows, and its rows without one."""
        self.unlabelled += unlabelled
        hashes, places, counts = np.unique(hash128(labels)[:, 0], return_index=True, return_counts=True)
        self.is_full = self.is_full or len(hashes) > MAX_LABELS
        told = labels.take(places[:MAX_LABELS]).to_list()
        number = SPLITS.index(split)
        for key, label, rows in zip(hashes.tolist(), told, counts.tolist(), strict=False):
            self._count(key, label[:_EXCERPT_CHARS], [rows if n == number else 0 for n in range(len(SPLITS))])
        self._shed()

    def merge(self, other: "LabelCounts") -> None:
        """Add what another one counted."""
        self.unlabelled += other.unlabelled
        self.is_full = self.is_full or other.is_full
        for key, (label, rows) in other.kept.items():
            self._count(key, label, rows)
        self._shed()

    @property
    def distinct(self) -> int:
        """How many labels there are; an estimate, mostly within 6%, where they are too many."""
        if not self.is_full:
            return len(self.kept)
        return (len(self.kept) - 1) * (1 << _HASH_BITS) // max(self.kept)

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the report: the rows of each label, commonest first, where the labels are few enough."""
        rows: dict[str, dict[str, int]] = {}
        if not self.is_full:
            for label, counts in sorted(self.kept.values(), key=lambda item: (-sum(item[1]), item[0])):
                known = rows.setdefault(label, dict.fromkeys(SPLITS, 0))
                for split, count in zip(SPLITS, counts, strict=True):
                    known[split] += count
        return {
            "distinct": self.distinct,
            "is_exact": not self.is_full,
            "limit": MAX_LABELS,
            "unlabelled": self.unlabelled,
            "rows": rows,
        }

    def _count(self, key: int, label: str, rows: list[int]) -> None:
        known = self.kept.get(key)
        added = rows if known is None else [a + b for a, b in zip(known[1], rows, strict=True)]
        self.kept[key] = (label, added)

    def _shed(self) -> None:
        if len(self.kept) > MAX_LABELS:
            self.is_full = True
            self.kept = {key: self.kept[key] for key in heapq.nsmallest(MAX_LABELS, self.kept)}
