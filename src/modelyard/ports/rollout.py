"""Rollout: a champion, a challenger, the steps between them, and where it stands."""

from typing import Literal

import msgspec

RolloutState = Literal["running", "promoted", "rolled_back", "cancelled"]
StepKind = Literal["shadow", "canary"]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step. `weight_bp` is the challenger's share in basis points (0 while it only shadows).

    A step is done when both sides have `min_samples` scored answers in it and the challenger is proven no worse than
    the plan's margin.
    """

    kind: StepKind
    weight_bp: int
    min_samples: int


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How a rollout decides. `margin` is the loss of quality that is still accepted, `alpha` the error promised.

    `max_error_share` bounds the challenger's share of failed answers. `max_hours` ends an undecided rollout by rolling
    it back.
    """

    steps: tuple[Step, ...]
    metric: str = "quality"
    margin: float = 0.02
    alpha: float = 0.05
    max_error_share: float = 0.05
    max_hours: float = 24.0


class RolloutEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to a rollout, with the evidence of that moment. `by` is who did it."""

    at_ms: int
    kind: Literal["started", "advanced", "held", "promoted", "rolled_back", "cancelled"]
    step: int
    reason: str
    evidence: dict[str, float] = {}
    by: str = ""


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a rollout. `champion` and `challenger` are release digests; `salt` makes its assignment its own.

    `verdict_id` is the evidence by which the challenger went as far as it did. A plan without steps is over at once.
    """

    id: str
    service: str
    champion: str
    challenger: str
    plan: Plan
    salt: str
    state: RolloutState
    step: int
    started_ms: int
    step_started_ms: int
    finished_ms: int = 0
    events: tuple[RolloutEvent, ...] = ()
    verdict_id: str = ""

    @property
    def serving(self) -> str:
        """The release that serves while this rollout is the last of its service; empty where there is none."""
        return self.challenger if self.state == "promoted" else self.champion
