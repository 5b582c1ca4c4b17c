"""What a report tells about rows, counted block by block in bounded memory and added up.

Whichever worker counts which rows, and in whatever order, the sums are the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelyard.datasets.index import Hashes
from modelyard.datasets.report.fields import FieldCounts
from modelyard.datasets.report.histogram import Histogram
from modelyard.datasets.report.labels import LabelCounts
from modelyard.datasets.report.languages import Sample
from modelyard.datasets.rows import ANSWER, PROMPT, REJECTED, SYSTEM, Rows
from modelyard.datasets.texts import Ints, Texts

_DIGEST_BYTES = 32


def _lengths() -> dict[str, Histogram]:
    return {name: Histogram() for name in ("prompt", "answer", "rejected")}


@dataclass(slots=True, eq=False)
class Statistics:
    """Counts over rows. `fields` are of the raw rows, `tokens` of those that were counted, the rest of those kept.

    `chars` are lengths in characters by part, of rows that have the part, without the system's turn; `desirable` counts
    [no, yes].
    """

    fields: FieldCounts = field(default_factory=FieldCounts)
    tokens: Histogram = field(default_factory=Histogram)
    chars: dict[str, Histogram] = field(default_factory=_lengths)
    turns: Histogram = field(default_factory=Histogram)
    labels: LabelCounts = field(default_factory=LabelCounts)
    desirable: list[int] = field(default_factory=lambda: [0, 0])
    sample: Sample = field(default_factory=Sample)

    def add_fields(self, rows: Sequence[dict[str, Any]]) -> None:
        """Count the fields of raw rows."""
        self.fields.add(rows)

    def add_tokens(self, counts: Ints) -> None:
        """Count rows by their tokens. Shape: (rows,)."""
        self.tokens.add(counts)

    def add_rows(
        self, split: str, rows: Rows, digests: pa.ChunkedArray | pa.Array, *, answers_are_labels: bool = False
    ) -> None:
        """Count rows that are kept. `digests` is their column of the Parquet files.

        A row's label is the one it carries; where no row carries any, its answer, if answers are labels.
        """
        self._count_lengths(rows)
        if rows.labels is not None:
            known = [label for label in rows.labels if label is not None]
            self.labels.add(split, Texts.of(known), len(rows) - len(known))
        elif answers_are_labels:
            self.labels.add(split, rows.answers())
        if rows.desirable is not None:
            yes = sum(map(bool, rows.desirable))
            self.desirable = [self.desirable[0] + len(rows) - yes, self.desirable[1] + yes]
        self.sample.add(rows, digest_hashes(digests))

    def merge(self, other: "Statistics") -> None:
        """Add what another one counted."""
        self.fields.merge(other.fields)
        self.tokens.merge(other.tokens)
        for name, histogram in other.chars.items():
            self.chars[name].merge(histogram)
        self.turns.merge(other.turns)
        self.labels.merge(other.labels)
        self.desirable = [a + b for a, b in zip(self.desirable, other.desirable, strict=True)]
        self.sample.merge(other.sample)

    def _count_lengths(self, rows: Rows) -> None:
        chars = pc.utf8_length(rows.turns.to_arrow()).to_numpy(zero_copy_only=False)
        row_of_turn = rows.row_of_turn
        for name, part in (("prompt", PROMPT), ("answer", ANSWER), ("rejected", REJECTED)):
            chosen = (rows.parts == part) & (rows.roles != SYSTEM)
            has_part = np.bincount(row_of_turn[chosen], minlength=len(rows)) > 0
            sums = np.bincount(row_of_turn[chosen], weights=chars[chosen], minlength=len(rows))
            self.chars[name].add(sums[has_part].astype(np.int64))
        self.turns.add(np.bincount(row_of_turn[rows.parts != REJECTED], minlength=len(rows)))


def digest_hashes(digests: pa.ChunkedArray | pa.Array) -> Hashes:
    """The first 64 bits of each digest of a column. Shape: (rows,)."""
    pieces = []
    for chunk in digests.chunks if isinstance(digests, pa.ChunkedArray) else [digests]:
        data = np.frombuffer(chunk.buffers()[1] or b"", np.uint8)
        rows = data[_DIGEST_BYTES * chunk.offset : _DIGEST_BYTES * (chunk.offset + len(chunk))].reshape(
            -1, _DIGEST_BYTES
        )
        pieces.append(np.ascontiguousarray(rows[:, :8]).view(">u8")[:, 0].astype(np.uint64))
    return np.concatenate(pieces) if pieces else np.zeros(0, np.uint64)
