"""What the checks look at: rows as they will be trained on, and the same rows as columns, for speed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np

from modelyard.ports.dataset import Example
from modelyard.ports.engine import Capabilities
from modelyard.training.defaults import PREFERENCES
from modelyard.training.recipe import Recipe
from modelyard.training.sizes import Sizes
from modelyard.training.tokenization import IGNORED, ChatTokenizer, Row


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """All that the checks look at. What is None or empty is not known yet; its checks say so.

    `rows` are the documents of each example one after the other: one for sft; for dpo the better answer and the worse;
    for kto the answer and its prompt with a strange one. `held_out` are validation rows of the same kind. `places` are
    where checkpoints and the output will lie.
    """

    rows: Sequence[Row]
    chat: ChatTokenizer
    recipe: Recipe
    engine: Capabilities | None = None
    examples: Sequence[Example] = ()
    held_out: Sequence[Row] = ()
    sizes: Sizes | None = None
    checkpoints: Path | None = None
    output: Path | None = None

    @property
    def own_rows(self) -> Sequence[Row]:
        """The rows that are an example as it was written."""
        return self.rows[::2] if self.recipe.objective in PREFERENCES else self.rows

    @cached_property
    def columns(self) -> "Columns":
        """The rows as columns."""
        return Columns(self.rows)


class Columns:
    """Rows end to end. Shapes: `ids` and `labels` (tokens,), `row` (tokens,), of each its row; `lengths` (rows,)."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.lengths = np.fromiter((len(row.input_ids) for row in rows), np.int64, len(rows))
        total = int(self.lengths.sum())
        self.ids = np.fromiter(chain.from_iterable(row.input_ids for row in rows), np.int64, total)
        self.labels = np.fromiter(chain.from_iterable(row.labels for row in rows), np.int64, total)
        self.row = np.repeat(np.arange(len(rows)), self.lengths)
        self.is_learnt = self.labels != IGNORED

    @property
    def num_learnt(self) -> np.ndarray:
        """Learnt tokens of each row. Shape: (rows,)."""
        return np.bincount(self.row[self.is_learnt], minlength=len(self.lengths))

    @cached_property
    def starts_row(self) -> np.ndarray:
        """Whether a token is the first of its row. Shape: (tokens,)."""
        return np.diff(self.row, prepend=-1) > 0

    @cached_property
    def spans(self) -> tuple[np.ndarray, np.ndarray]:
        """Where each run of learnt tokens begins, and where it has ended. Shapes: (answers,)."""
        before = np.concatenate(([False], self.is_learnt[:-1])) & ~self.starts_row
        begins = np.flatnonzero(self.is_learnt & ~before)
        goes_on = np.concatenate((before[1:] & self.is_learnt[1:], [False]))
        return begins, np.flatnonzero(self.is_learnt & ~goes_on) + 1

    def rows_of(self, places: np.ndarray) -> np.ndarray:
        """The rows that hold these tokens, each once. `places` are positions, or a mask over all tokens."""
        return np.unique(self.row[places])
