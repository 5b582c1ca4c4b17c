"""What a sweep of the project file may say, and the recipes that come of it."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from modelyard.core.errors import RecipeInvalid
from modelyard.training.recipe import Recipe

Scalar = bool | int | float | str
Direction = Literal["minimize", "maximize"]
_DIRECTIONS: dict[str, Direction] = {"validation_loss": "minimize", "validation_accuracy": "maximize"}


class Range(BaseModel):
    """All numbers between two, those two included; whole ones where both are whole."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: int | float
    high: int | float
    log: bool = Field(False, description="Look at factors, not at differences: for learning rates.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs low above 0, and it is {self.low}")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)


class SweepConfig(BaseModel):
    """A search over fields of a recipe: every combination (grid), or as many as `trials`, chosen by Optuna."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str = Field(description="The recipe whose other fields all trials share.")
    search: dict[str, tuple[Scalar, ...] | Range] = Field(
        min_length=1, description="Fields of the recipe: a list of values, or {low, high, log} for optuna."
    )
    method: Literal["grid", "optuna"] = "grid"
    trials: int | None = Field(None, ge=1, description="How many, for optuna. A grid tries every combination.")
    metric: Literal["validation_loss", "validation_accuracy"] = "validation_loss"
    direction: Direction | None = Field(None, description="By default what suits the metric.")
    pruning: bool = Field(
        True, description="End a trial that does worse than the median of others at the same step (validate_every)."
    )
    seed: int = Field(7, ge=0, lt=2**31, description="Of the search; trials are trained with the recipe's seed.")
    repeats: int = Field(1, ge=1, le=100, description="Runs a trial, each with another seed.")

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        for field, values in self.search.items():
            self._check_field(field, values)
        if (self.method == "grid") != (self.trials is None):
            raise ValueError("trials belongs to method: optuna, and only there; a grid tries every combination")
        if self.direction not in (None, _DIRECTIONS[self.metric]):
            raise ValueError(f"direction '{self.direction}' is the wrong way for {self.metric}: remove it")
        return self

    def _check_field(self, field: str, values: tuple[Scalar, ...] | Range) -> None:
        if field not in Recipe.model_fields:
            raise ValueError(f"'{field}' is no field of a recipe; they are: {', '.join(Recipe.model_fields)}")
        if field == "seed" and self.repeats > 1:
            raise ValueError("seed cannot be searched where repeats already trains with several seeds")
        if isinstance(values, Range):
            if self.method == "grid":
                raise ValueError(f"{field}: a grid needs a list of values; a range is for method: optuna")
        elif not values or len(set(values)) < len(values):
            raise ValueError(f"{field}: needs values that differ from each other")

    @property
    def is_lower_better(self) -> bool:
        """Which way the metric should go."""
        return _DIRECTIONS[self.metric] == "minimize"

    @property
    def num_trials(self) -> int:
        """How many trials there will be."""
        return self.trials or sum(1 for _ in self.grid())

    def grid(self) -> Iterator[dict[str, Scalar]]:
        """Every combination, the last field changing fastest."""
        lists = [values for values in self.search.values() if not isinstance(values, Range)]
        for combination in product(*lists):
            yield dict(zip(self.search, combination, strict=True))

    def recipe_with(self, recipe: Recipe, values: Mapping[str, Any], repeat: int = 0) -> Recipe:
        """The recipe of a trial. Raises: RecipeInvalid where the values contradict its other fields."""
        fields = recipe.model_dump(exclude_unset=True) | dict(values)
        try:
            chosen = Recipe.model_validate(fields)
        except ValidationError as error:
            told = "; ".join(str(detail["msg"]) for detail in error.errors())
            spoken = ", ".join(f"{name} {value}" for name, value in values.items())
            raise RecipeInvalid(
                f"the recipe '{self.recipe}' with {spoken} is not valid: {told}",
                fix="take these values out of `search`, or change the recipe",
            ) from error
        return chosen.model_copy(update={"seed": chosen.seed + repeat})

    def require(self, recipe: Recipe) -> None:
        """Raises: RecipeInvalid where a trial could not be trained, judged or pruned."""
        if self.pruning and recipe.validate_every is None and "validate_every" not in self.search:
            raise RecipeInvalid(
                f"the recipe '{self.recipe}' never looks at the validation split before the end",
                expected="validate_every, as pruning goes by what is seen there",
                fix="add validate_every to the recipe, or pruning: false to the sweep",
            )
        if not recipe.validate_at_end:
            raise RecipeInvalid(
                f"the recipe '{self.recipe}' has validate_at_end: false, so its trials cannot be compared",
                fix="remove it",
            )
        if self.method == "grid":
            for values in self.grid():
                self.recipe_with(recipe, values)
