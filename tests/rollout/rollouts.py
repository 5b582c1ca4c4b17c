"""Rollouts, arms and simulated traffic for the tests."""

from collections.abc import Callable

import numpy as np

from modelyard.ports.interaction import Interaction
from modelyard.ports.records import ScoredInteraction
from modelyard.ports.rollout import Plan, Rollout, Step
from modelyard.rollout import machine
from modelyard.rollout.evidence import Arm

CHAMPION, CHALLENGER = "sha256:aa", "sha256:bb"
HOUR_MS = 3_600_000

SHADOW = Step(kind="shadow", weight_bp=0, min_samples=20)
CANARY = Step(kind="canary", weight_bp=2500, min_samples=20)
HALF = Step(kind="canary", weight_bp=5000, min_samples=20)


def make_plan(*steps: Step, **changes: object) -> Plan:
    return Plan(steps=steps or (CANARY,), **({"margin": 0.1} | changes))


def make_rollout(*steps: Step, **changes: object) -> Rollout:
    return machine.start("support", CHAMPION, CHALLENGER, make_plan(*steps, **changes), now_ms=0)


def make_arm(*scores: float, failed: int = 0) -> Arm:
    return Arm(scores=scores, scored=len(scores), answered=len(scores) + failed, failed=failed)


def make_shadow_arm(*scores: float, failed: int = 0) -> Arm:
    return Arm(shadow_scores=scores, scored=len(scores), answered=len(scores) + failed, failed=failed)


def make_interaction(id: str, role: str = "champion", **changes: object) -> Interaction:
    values: dict[str, object] = {
        "id": id,
        "at_ms": 10,
        "service": "support",
        "tenant": "acme",
        "key_id": "k",
        "unit": "sha256:unit",
        "release": CHAMPION if role == "champion" else CHALLENGER,
        "role": role,
        "propensity": 1.0 if role == "shadow" else 0.5,
        "table_version": 1,
    }
    return Interaction(**(values | changes))


def score(interaction: Interaction, value: float = -1.0) -> ScoredInteraction:
    return ScoredInteraction(interaction=interaction, score=value)


def walk(
    rollout: Rollout,
    draw: Callable[[float], float],
    champion_mean: float,
    challenger_mean: float,
    rng: np.random.Generator,
    *,
    batch: int,
    looks: int,
) -> tuple[Rollout, int]:
    """Send simulated canary traffic until the rollout ends or the looks run out; return it and the scored answers."""
    sides: dict[bool, list[float]] = {False: [], True: []}
    in_step = {False: 0, True: 0}
    for _ in range(looks):
        share = rollout.plan.steps[rollout.step].weight_bp / 10_000
        for to_challenger in rng.random(batch) < share:
            sides[bool(to_challenger)].append(draw(challenger_mean if to_challenger else champion_mean))
            in_step[bool(to_challenger)] += 1
        arms = [Arm(scores=tuple(sides[side]), scored=in_step[side], answered=in_step[side]) for side in (False, True)]
        before = rollout.step
        rollout = machine.advance(rollout, machine.decide(rollout, *arms, now_ms=1), now_ms=1)
        if rollout.state != "running":
            break
        if rollout.step != before:
            in_step = {False: 0, True: 0}
    return rollout, len(sides[False]) + len(sides[True])
