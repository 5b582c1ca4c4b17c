"""A batch dealt out to several processes: together they take the rows that one alone would take at once."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import Sampler

from modelyard.training import ranks
from modelyard.training.tokenization import IGNORED

FILLER = -1


class RankBatches(Sampler[list[int]]):
    """The rows of each batch that this process takes, so that all together take what one alone would take at once.

    A process for which the last batch of an epoch leaves no row is given FILLER, which weighs nothing: all must come
    to each step. The order is that of accelerate's sampler for one process.
    """

    def __init__(self, num_rows: int, micro_batch: int, seed: int) -> None:
        self._num_rows, self._micro_batch, self._seed = num_rows, micro_batch, seed
        self._epoch = 0

    @property
    def batch_sampler(self) -> "RankBatches":
        """Where transformers looks for who wants to know the epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return -(-self._num_rows // (self._micro_batch * ranks.count()))

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        order: list[int] = torch.randperm(self._num_rows, generator=generator).tolist()
        together = self._micro_batch * ranks.count()
        for begin in range(0, len(order), together):
            yield order[begin : begin + together][ranks.rank() :: ranks.count()] or [FILLER]


class WithFiller:
    """Rows, and one more under FILLER: the first, of which nothing is learnt."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = dict(self._rows[max(index, 0)])
        if index == FILLER:
            row |= {"labels": [IGNORED] * len(row["labels"]), "filler": True}
        return row
