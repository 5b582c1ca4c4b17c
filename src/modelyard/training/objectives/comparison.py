"""What DPO and KTO share: two documents a unit, of which the last answer alone is weighed."""

import random
from collections.abc import Sequence

import msgspec
import torch
from datasets import Dataset

from modelyard.core.errors import DataInvalid
from modelyard.ports.dataset import Example
from modelyard.training.objectives.objective import Tensors, Unit
from modelyard.training.recipe import Recipe
from modelyard.training.tokenization import IGNORED, Row

PER_UNIT = 2


def last_answer(row: Row) -> Row:
    """The row with labels on its last answer alone: turns before it are given, not weighed."""
    start = len(row.prompt_ids)
    labels = [IGNORED] * start + row.labels[start:]
    return msgspec.structs.replace(row, labels=labels, answers=row.answers[-1:])


def to_pairs(units: Sequence[Unit], recipe: Recipe) -> Dataset:
    """Columns `input_ids` and `labels` of both documents one after the other, `seq_lengths` of each, `desirable`."""
    order = list(range(len(units)))
    random.Random(recipe.seed).shuffle(order)  # noqa: S311
    chosen = [units[i] for i in order]
    return Dataset.from_dict(
        {
            "input_ids": [[id for row in unit.documents for id in row.input_ids] for unit in chosen],
            "labels": [[label for row in unit.documents for label in row.labels] for unit in chosen],
            "seq_lengths": [[len(row.input_ids) for row in unit.documents] for unit in chosen],
            "desirable": [bool(unit.desirable) for unit in chosen],
        }
    )


def num_units(inputs: Tensors) -> int:
    """How many units a batch holds."""
    return (len(inputs["cu_seq_lens_q"]) - 1) // PER_UNIT


def per_unit(losses: torch.Tensor) -> torch.Tensor:
    """The losses of units as rows of one item each. Shape: (units, 2)."""
    return torch.stack([losses, torch.ones_like(losses)], 1).detach()


def require_shape(examples: Sequence[Example], holds: Sequence[bool], objective: str, expected: str) -> None:
    """Raises: DataInvalid that names the first row for which something does not hold."""
    lacking = [example for example, right in zip(examples, holds, strict=True) if not right]
    if lacking:
        first = lacking[0]
        raise DataInvalid(
            f"objective '{objective}': {len(lacking)} of {len(examples)} rows have the wrong shape, the first is "
            f"{first.source}:{first.line}",
            expected=expected,
            fix="choose a dataset of that shape, or another objective in the recipe",
        )
