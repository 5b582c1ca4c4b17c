"""What a training job works with, read from its spec: the same for a dry run as for the run itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from modelyard.core.errors import DataInvalid, RecipeInvalid
from modelyard.ports.dataset import Example
from modelyard.training.examples import read_examples
from modelyard.training.objectives import Unit, objective_of
from modelyard.training.preflight import Inspection
from modelyard.training.recipe import Recipe
from modelyard.training.sizes import Sizes, read_sizes
from modelyard.training.spec import TrainingSpec
from modelyard.training.tokenization import ChatTokenizer, Row


@dataclass(frozen=True, kw_only=True)
class Material:
    """The recipe with its defaults decided, and examples as tokens. `held_out` is empty where nobody looks at it."""

    recipe: Recipe
    sizes: Sizes
    chat: ChatTokenizer
    examples: Sequence[Example]
    units: Sequence[Unit]
    held_out: Sequence[Unit]

    @cached_property
    def rows(self) -> list[Row]:
        """Every document that is trained on."""
        return [row for unit in self.units for row in unit.documents]

    def inspection(self, spec: TrainingSpec) -> Inspection:
        """What the preflight looks at."""
        return Inspection(
            rows=self.rows,
            chat=self.chat,
            recipe=self.recipe,
            engine=spec.engine,
            examples=self.examples,
            held_out=[row for unit in self.held_out for row in unit.documents],
            sizes=self.sizes,
            checkpoints=Path(spec.checkpoints) if spec.checkpoints else None,
            output=Path(spec.output),
        )


def gather(spec: TrainingSpec) -> Material:
    """Read what a spec names. Raises: RecipeInvalid, DataInvalid, NotFound."""
    folder = Path(spec.base_folder)
    chat = ChatTokenizer(folder)
    sizes = read_sizes(folder)
    recipe = _read_recipe(spec, sizes)
    chat.system_prompt = recipe.system_prompt
    objective = objective_of(recipe)
    examples = _training_examples(spec, recipe)
    held_out = read_examples(Path(spec.validation)) if spec.validation and recipe.validates else []
    return Material(
        recipe=recipe,
        sizes=sizes,
        chat=chat,
        examples=examples,
        units=objective.units(examples, chat),
        held_out=objective.units(held_out, chat) if held_out else [],
    )


def _read_recipe(spec: TrainingSpec, sizes: Sizes) -> Recipe:
    try:
        return Recipe.model_validate(spec.recipe).for_base(sizes.num_parameters)
    except ValidationError as error:
        raise RecipeInvalid(f"the recipe is not valid: {error}", fix="correct the fields named above") from error


def _training_examples(spec: TrainingSpec, recipe: Recipe) -> Sequence[Example]:
    examples = read_examples(Path(spec.train))
    if not examples:
        raise DataInvalid(
            f"{spec.train} holds no example",
            expected="at least one",
            fix="prepare the dataset again",
        )
    return examples[: recipe.max_train_rows]
