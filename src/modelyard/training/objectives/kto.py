"""Kahneman-Tversky optimization (Ethayarajh 2024): single answers, each called good or bad."""

from collections.abc import Sequence

import msgspec
import torch
from datasets import Dataset

from modelyard.core.errors import DataInvalid
from modelyard.ports.dataset import Example
from modelyard.training.objectives.comparison import last_answer, num_units, per_unit, require_shape, to_pairs
from modelyard.training.objectives.objective import Losses, Score, Tensors, Unit
from modelyard.training.recipe import Recipe
from modelyard.training.tokenization import ChatTokenizer, Row


class SingleVerdicts:
    """weight * (1 - sigmoid(beta * (gain - z))) for a good answer, with z - gain for a bad one; the mean over a step.

    A gain is how much likelier an answer became since before training, in nats. z is how far the model has moved in
    all: the mean gain, over the batch on the device, of answers that belong to other prompts, at least zero. No
    gradient flows through it.
    """

    compares = True

    def __init__(self, recipe: Recipe) -> None:
        self._beta = recipe.beta or 0.0
        self._good, self._bad = recipe.desirable_weight or 0.0, recipe.undesirable_weight or 0.0

    def units(self, examples: Sequence[Example], chat: ChatTokenizer) -> list[Unit]:
        """Each answer, and its prompt with the answer of the row before. Raises: DataInvalid."""
        require_shape(
            examples,
            [example.desirable is not None for example in examples],
            "kto",
            "answers with a verdict: desirable or not",
        )
        verdicts = [bool(example.desirable) for example in examples]
        if len(set(verdicts)) < 2:
            raise DataInvalid(
                f"objective 'kto': all {len(verdicts)} rows have the same verdict",
                expected="good answers and bad ones",
                fix="add the other kind, or learn the good ones with objective: sft",
            )
        rows = [last_answer(row) for row in chat.encode(examples)]
        pairs = zip(rows, [rows[-1], *rows], verdicts, strict=False)
        return [Unit(documents=(row, _answered(row, other)), desirable=good) for row, other, good in pairs]

    def sequences(self, units: Sequence[Unit], recipe: Recipe) -> Dataset:
        """An answer and its stranger a row."""
        return to_pairs(units, recipe)

    def num_items(self, inputs: Tensors) -> int:
        """Answers."""
        return num_units(inputs)

    def score(self, losses: Losses, inputs: Tensors) -> Score:
        """The sum over answers; right is who likes a good answer more than strangers, and a bad one less."""
        gains = (losses.by_document() - inputs["reference"]).view(-1, 2)
        moved = gains[:, 1].detach().mean().clamp(min=0)
        above = gains[:, 0] - moved
        good = inputs["desirable"]
        weights = torch.where(good, self._good, self._bad)
        side = torch.where(good, above, -above)
        each = weights * (1 - torch.sigmoid(self._beta * side))
        return Score(total=each.sum(), num_items=len(side), by_row=per_unit(each), num_right=int((side > 0).sum()))


def _answered(row: Row, other: Row) -> Row:
    """A prompt with the answer of another row."""
    start, begin = len(row.prompt_ids), len(other.prompt_ids)
    return msgspec.structs.replace(
        row,
        example_id=f"{row.example_id} (with another answer)",
        input_ids=row.input_ids[:start] + other.input_ids[begin:],
        labels=row.labels[:start] + other.labels[begin:],
        answers=other.answers,
    )
