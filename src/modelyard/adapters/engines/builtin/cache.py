"""The keys and values of a running batch, made so that rows come and go cheaply.

All rows end at one column, the head, so that a step writes one column for all of them:

    column   start ........ head
    row 0        k k k k k k        a row of six tokens
    row 1              k k k        a newcomer: its prompt was written up to the head
    row 2    k k k k k k k k        the longest row sets `start`

A row that leaves is overwritten by the last one. The buffers have room on both sides and move only when it is used up.
Knows nothing of tokens, adapters or requests.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import Cache

_ROOM = 64


class PromptCache(Cache):  # type: ignore[misc]
    """What one forward pass over whole prompts computed: per layer, keys and values (rows, heads, tokens, head)."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.pairs: list[tuple[Tensor, Tensor]] = []

    def update(self, keys: Tensor, values: Tensor, layer: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Called by each layer in turn with the keys and values of all tokens."""
        self.pairs.append((keys, values))
        return keys, values


class BatchCache(Cache):  # type: ignore[misc]
    """The keys and values of all running rows, `lengths[row]` tokens each."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.lengths: list[int] = []
        self._buffers: list[tuple[Tensor, Tensor]] = []
        self._head = 0

    @property
    def _start(self) -> int:
        return self._head - max(self.lengths)

    def mask(self) -> Tensor:
        """What the next token of each row may look at, itself included: (rows, 1, 1, columns), true where it may."""
        columns = torch.arange(self._start, self._head + 1)
        first = torch.tensor([self._head - length for length in self.lengths])
        return (columns >= first[:, None])[:, None, None, :]

    def update(self, keys: Tensor, values: Tensor, layer: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Called by each layer in turn with the keys and values of one new token a row: (rows, heads, 1, head)."""
        rows, window = len(self.lengths), slice(self._start, self._head + 1)
        kept_keys, kept_values = self._buffers[layer]
        kept_keys[:rows, :, self._head] = keys[:, :, 0]
        kept_values[:rows, :, self._head] = values[:, :, 0]
        return kept_keys[:rows, :, window], kept_values[:rows, :, window]

    def prepare_step(self) -> None:
        """Make sure that there is a column to write at the head."""
        if self._head == self._buffers[0][0].shape[2]:
            self._move(rows=len(self.lengths), left=max(self.lengths))

    def finish_step(self) -> None:
        """Take the column that the layers have written."""
        self._head += 1
        self.lengths = [length + 1 for length in self.lengths]

    def join(self, prompts: PromptCache, lengths: list[int]) -> None:
        """Add rows whose prompts, padded on the left, were just computed."""
        first, width = len(self.lengths), prompts.pairs[0][0].shape[2]
        rows = first + len(lengths)
        if not self._buffers:
            self._buffers = [(keys[:0, :, :0], values[:0, :, :0]) for keys, values in prompts.pairs]
        if width > self._head or rows > self._buffers[0][0].shape[0]:
            self._move(rows=rows, left=max(width, *self.lengths, 0))
        window = slice(self._head - width, self._head)
        for (kept_keys, kept_values), (keys, values) in zip(self._buffers, prompts.pairs, strict=True):
            kept_keys[first:rows, :, window] = keys
            kept_values[first:rows, :, window] = values
        self.lengths += lengths

    def leave(self, row: int) -> None:
        """Drop a row; the last row takes its place."""
        last = len(self.lengths) - 1
        if row != last:
            window = slice(self._head - self.lengths[last], self._head)
            for keys, values in self._buffers:
                keys[row, :, window] = keys[last, :, window]
                values[row, :, window] = values[last, :, window]
            self.lengths[row] = self.lengths[last]
        self.lengths.pop()

    def _move(self, *, rows: int, left: int) -> None:
        """Move into new buffers with `left` columns before the head, and room for more on every side."""
        head, kept, used = left + _ROOM, len(self.lengths), max(self.lengths, default=0)
        capacity = max(rows, self._buffers[0][0].shape[0])
        width = head + max(_ROOM, used)

        def moved(old: Tensor) -> Tensor:
            new = old.new_zeros(capacity, old.shape[1], width, old.shape[3])
            new[:kept, :, head - used : head] = old[:kept, :, self._head - used : self._head]
            return new

        self._buffers = [(moved(keys), moved(values)) for keys, values in self._buffers]
        self._head = head
