"""An objective: what a step makes better. Conversations become documents, and the model's losses on them one number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

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
    """What a model thinks of a batch, in nats. Shapes: tokens (learnt tokens,); document, of each its number, too."""

    tokens: torch.Tensor
    document: torch.Tensor
    num_documents: int

    def by_document(self) -> torch.Tensor:
        """The log-probability of each document's answer. Shape: (documents,)."""
        return -self.tokens.new_zeros(self.num_documents).index_add_(0, self.document, self.tokens)


@dataclass(frozen=True, kw_only=True)
class Score:
    """The loss of a batch as a sum over its items, and of how many it was right where there is a right."""

    total: torch.Tensor
    num_items: int
    num_right: int | None = None


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
