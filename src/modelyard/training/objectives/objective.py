"""An objective: what a step makes better. Conversations become documents, and the model's losses on them one number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import msgspec
import torch
from datasets import Dataset

from modelyard.ports.dataset import Example
from modelyard.training.recipe import Recipe
from modelyard.training.tokenization import ChatTokenizer, Row

Tensors = Mapping[str, Any]


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """What belongs together in training: one document, or the two that are compared. `desirable` is for KTO."""

    documents: tuple[Row, ...]
    desirable: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Losses:
    """What a model thinks of a batch, in nats. Shapes: all (tokens,); document is the number of each one's.

    Where `learnt` is false, a position of a padded batch has no token to learn, and no loss.
    """

    tokens: torch.Tensor
    learnt: torch.Tensor
    document: torch.Tensor
    num_documents: int

    def by_document(self) -> torch.Tensor:
        """The log-probability of each document's answer. Shape: (documents,)."""
        return -self._added_up(self.tokens)

    def rows(self) -> torch.Tensor:
        """The loss of each document, and its learnt tokens. Shape: (documents, 2)."""
        learnt = self._added_up(self.learnt.to(self.tokens.dtype))
        return torch.stack([self._added_up(self.tokens), learnt], 1).detach()

    def _added_up(self, values: torch.Tensor) -> torch.Tensor:
        return values.new_zeros(self.num_documents).index_add_(0, self.document, values)


@dataclass(frozen=True, kw_only=True)
class Score:
    """The loss of a batch as a sum over its items, and of how many it was right where there is a right.

    `by_row` is the same sum and the number of items for each row or pair. Shape: (rows, 2).
    """

    total: torch.Tensor
    num_items: int
    by_row: torch.Tensor
    num_right: int | None = None

    def at_rest(self) -> Self:
        """The score on the CPU, without what a gradient would need."""
        return replace(self, total=self.total.detach().cpu(), by_row=self.by_row.cpu())


class Objective(Protocol):
    """One of sft, dpo and kto."""

    compares: bool
    """Whether the model is held against what it was before training: then log-probabilities of that are needed."""

    def units(self, examples: Sequence[Example], chat: ChatTokenizer) -> list[Unit]:
        """Conversations as documents. Raises: DataInvalid where they have the wrong shape."""
        ...

    def sequences(self, units: Sequence[Unit], recipe: Recipe) -> Dataset:
        """The rows that a batch is made of, in an order that the seed decides."""
        ...

    def num_items(self, inputs: Tensors) -> int:
        """What the loss of a step is divided by: the learnt tokens or the units of a batch."""
        ...

    def score(self, losses: Losses, inputs: Tensors) -> Score:
        """The loss of a batch."""
        ...
