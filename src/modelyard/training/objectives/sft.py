"""Supervised fine-tuning: the assistant's own words, token by token."""

from collections.abc import Sequence

from datasets import Dataset

from modelyard.ports.dataset import Example
from modelyard.training.objectives.objective import Losses, Score, Tensors, Unit
from modelyard.training.packing import to_sequences
from modelyard.training.recipe import Recipe
from modelyard.training.tokenization import IGNORED, ChatTokenizer


class Answers:
    """Cross-entropy over every learnt token, the mean over those of a whole step."""

    compares = False

    def units(self, examples: Sequence[Example], chat: ChatTokenizer) -> list[Unit]:
        """One document a conversation. Of a preference pair the better answer is learnt."""
        return [Unit(documents=(row,)) for row in chat.encode(examples)]

    def sequences(self, units: Sequence[Unit], recipe: Recipe) -> Dataset:
        """Documents, several to a sequence where the recipe packs."""
        return to_sequences([unit.documents[0] for unit in units], recipe)

    def num_items(self, inputs: Tensors) -> int:
        """Learnt tokens."""
        return int((inputs["labels"][:, 1:] != IGNORED).sum())

    def score(self, losses: Losses, inputs: Tensors) -> Score:
        """The sum over learnt tokens, in nats."""
        return Score(total=losses.tokens.sum(), num_items=self.num_items(inputs), by_row=losses.rows())
