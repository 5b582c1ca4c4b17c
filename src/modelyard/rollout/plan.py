"""Plan: how a rollout goes, as the project file says it."""

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from modelyard.core.assignment import FULL
from modelyard.ports.rollout import Plan, Step

Strategy = Literal["canary", "shadow", "blue-green", "percentage"]

_WEIGHT_FORM = "a share between 0 and 1, or a text such as '25%'"


def _share(value: Any) -> Any:
    """A share from `0.25` or `"25%"`, in whole basis points."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"expected {_WEIGHT_FORM}")
    text = str(value).strip()
    if isinstance(value, str) and not text.endswith("%"):
        raise ValueError(f"'{value}' is not {_WEIGHT_FORM}")
    try:
        share = Decimal(text.removesuffix("%").strip()) / (100 if text.endswith("%") else 1)
    except InvalidOperation:
        raise ValueError(f"'{value}' is not {_WEIGHT_FORM}") from None
    if not share.is_finite() or not 0 < share < 1:
        raise ValueError(f"{value} is not between 0 and 1: the promotion at the end gives all traffic")
    if share * FULL % 1:
        raise ValueError(f"{value} is finer than a basis point (0.01%)")
    return float(share)


Weight = Annotated[
    float,
    BeforeValidator(_share),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*%\s*$"},
            ]
        }
    ),
]


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ShadowConfig(_Config):
    """The challenger gets copies of the requests; its answers reach nobody."""

    min_samples: int = Field(default=50, ge=1)


class CanaryConfig(_Config):
    """The challenger answers a share of the units."""

    weight: Weight
    min_samples: int = Field(default=50, ge=1)

    @property
    def weight_bp(self) -> int:
        """The share in basis points."""
        return round(self.weight * FULL)


class StepConfig(_Config):
    """One step: either `shadow` or `canary`."""

    shadow: ShadowConfig | None = None
    canary: CanaryConfig | None = None

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.shadow is None) == (self.canary is None):
            raise ValueError("a step is either 'shadow' or 'canary'")
        return self

    def step(self) -> Step:
        """The step as the machine knows it."""
        if self.canary is not None:
            return Step(kind="canary", weight_bp=self.canary.weight_bp, min_samples=self.canary.min_samples)
        return Step(kind="shadow", weight_bp=0, min_samples=(self.shadow or ShadowConfig()).min_samples)


# What a strategy's name stands for: a growing share; copies first, then a share; copies, then everything at once; an
# even split until it is decided.
STRATEGIES: dict[Strategy, tuple[Step, ...]] = {
    "canary": (
        Step(kind="canary", weight_bp=500, min_samples=50),
        Step(kind="canary", weight_bp=2500, min_samples=50),
        Step(kind="canary", weight_bp=5000, min_samples=50),
    ),
    "shadow": (
        Step(kind="shadow", weight_bp=0, min_samples=100),
        Step(kind="canary", weight_bp=2500, min_samples=50),
    ),
    "blue-green": (Step(kind="shadow", weight_bp=0, min_samples=100),),
    "percentage": (Step(kind="canary", weight_bp=5000, min_samples=100),),
}


class PlanConfig(_Config):
    """A rollout in the project file: a strategy by its name, or its steps, and how it decides.

    `margin` is the loss of quality still accepted, and decides how long a rollout takes. Scored answers that each side
    needs on an even split at alpha 0.05, both 95% right: about 220 for a margin of 0.10, 830 for 0.05, 6,200 for 0.02;
    both 80% right, three to four times as many; a challenger that is better by 0.05 needs 130 to 500.
    """

    strategy: Strategy | None = None
    steps: tuple[StepConfig, ...] = ()
    metric: str = "quality"
    margin: float = Field(default=0.02, ge=0, lt=1)
    alpha: float = Field(default=0.05, gt=0, lt=1)
    max_error_share: float = Field(default=0.05, ge=0, lt=1)
    max_hours: float = Field(default=24.0, gt=0)

    @model_validator(mode="after")
    def _check_steps(self) -> Self:
        if self.strategy and self.steps:
            raise ValueError("'strategy' and 'steps' exclude each other: a strategy names its own steps")
        kinds = ["shadow" if step.shadow else "canary" for step in self.steps]
        if kinds != sorted(kinds, reverse=True):
            raise ValueError("shadow steps come before canary steps")
        weights = [step.canary.weight for step in self.steps if step.canary]
        if weights != sorted(weights):
            raise ValueError("canary weights may only grow: a unit that has met the challenger stays with it")
        return self

    def plan(self) -> Plan:
        """The plan as the machine knows it; without strategy and steps, that of `canary`."""
        steps = tuple(step.step() for step in self.steps) or STRATEGIES[self.strategy or "canary"]
        return Plan(
            steps=steps,
            metric=self.metric,
            margin=self.margin,
            alpha=self.alpha,
            max_error_share=self.max_error_share,
            max_hours=self.max_hours,
        )
