"""Direct preference optimization (Rafailov 2023): of two answers, the better one becomes likelier than the worse."""

from collections.abc import Sequence

import msgspec
from datasets import Dataset
from torch.nn import functional

from modelyard.ports.dataset import Example
from modelyard.training.objectives.comparison import last_answer, num_units, per_unit, require_shape, to_pairs
from modelyard.training.objectives.objective import Losses, Score, Tensors, Unit
from modelyard.training.recipe import Recipe
from modelyard.training.tokenization import ChatTokenizer


class PreferencePairs:
    """-log sigmoid(beta * (gain of the better answer - gain of the worse)), the mean over the pairs of a step.

    A gain is how much likelier an answer became since before training, in nats.
    """

    compares = True

    def __init__(self, recipe: Recipe) -> None:
        self._beta = recipe.beta or 0.0

    def units(self, examples: Sequence[Example], chat: ChatTokenizer) -> list[Unit]:
        """The better and the worse answer to each prompt. Raises: DataInvalid where a row is no pair."""
        require_shape(
            examples,
            [bool(example.rejected) for example in examples],
            "dpo",
            "preference pairs: a prompt with a better (chosen) and a worse (rejected) answer",
        )
        worse = [_worse(example) for example in examples]
        pairs = zip(chat.encode(examples), chat.encode(worse), strict=True)
        return [Unit(documents=(last_answer(better), last_answer(other))) for better, other in pairs]

    def sequences(self, units: Sequence[Unit], recipe: Recipe) -> Dataset:
        """A pair a row."""
        return to_pairs(units, recipe)

    def num_items(self, inputs: Tensors) -> int:
        """Pairs."""
        return num_units(inputs)

    def score(self, losses: Losses, inputs: Tensors) -> Score:
        """The sum over pairs; right is who likes the better answer more than before, compared to the worse."""
        gains = (losses.by_document() - inputs["reference"]).view(-1, 2)
        margins = gains[:, 0] - gains[:, 1]
        each = -functional.logsigmoid(self._beta * margins)
        return Score(
            total=each.sum(), num_items=len(margins), by_row=per_unit(each), num_right=int((margins > 0).sum())
        )


def _worse(example: Example) -> Example:
    return msgspec.structs.replace(
        example, id=f"{example.id} (rejected)", messages=(*example.prompt, *example.rejected), rejected=()
    )
