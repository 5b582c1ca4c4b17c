"""The step machine: what the evidence asks for, and the rollout that follows from it. Knows nothing of routes.

The error promised by the plan (`alpha`) is shared out by Bonferroni, so that the whole rollout keeps it however often
one looks: half to quality, half to failures. Quality has one body of evidence for shadow pairs and one for canary
answers, each carried over from step to step; failures start anew in each step, so that one which breaks under more
traffic is seen at once, and split their half over the steps.
"""

from typing import Literal

import msgspec

from modelyard.core.errors import Conflict, InvalidInput
from modelyard.core.ids import new_id
from modelyard.ports.rollout import Plan, Rollout, RolloutEvent, RolloutState, StepKind
from modelyard.rollout.confidence import BettingSequence, Bounds, difference_bounds, paired_bounds, share_low
from modelyard.rollout.evidence import Arm

DecisionKind = Literal["hold", "advance", "promote", "roll_back"]
EventKind = Literal["started", "advanced", "held", "promoted", "rolled_back", "cancelled"]

_EVENTS: dict[DecisionKind, EventKind] = {
    "hold": "held",
    "advance": "advanced",
    "promote": "promoted",
    "roll_back": "rolled_back",
}
_END_STATES: dict[EventKind, RolloutState] = {
    "promoted": "promoted",
    "rolled_back": "rolled_back",
    "cancelled": "cancelled",
}
_HOUR_MS = 3_600_000
CONTROL = "modelyard control"
"""Who does what no person did."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do now, why, and the numbers behind it.

    A hold's reason holds no numbers, so that it stays the same while nothing changes.
    """

    kind: DecisionKind
    reason: str
    evidence: dict[str, float] = {}


def start(
    service: str, champion: str, challenger: str, plan: Plan, now_ms: int, *, by: str = "", verdict_id: str = ""
) -> Rollout:
    """A rollout at its first step. Raises: InvalidInput where there is nothing to compare or no step."""
    if champion == challenger:
        raise InvalidInput(
            f"the release {challenger} is the champion of '{service}' already",
            expected="a challenger other than the champion",
        )
    if not plan.steps:
        raise InvalidInput("the plan has no steps", expected="at least one step, shadow or canary")
    return _new_rollout(service, champion, challenger, plan, now_ms, by, verdict_id)


def launch(service: str, release: str, now_ms: int, *, by: str = "", verdict_id: str = "") -> Rollout:
    """The rollout of a service's first release: there is no champion to compare with, so it is promoted at once."""
    rollout = _new_rollout(service, "", release, Plan(steps=()), now_ms, by, verdict_id)
    return _record(rollout, "promoted", "the first release of the service", {}, now_ms, by)


def bring_back(
    service: str, champion: str, former: str, reason: str, now_ms: int, *, by: str = "", verdict_id: str = ""
) -> Rollout:
    """The rollout by which a former champion takes all traffic again, at once."""
    rollout = _new_rollout(service, champion, former, Plan(steps=()), now_ms, by, verdict_id)
    return _record(rollout, "promoted", f"brought back: {reason}", {}, now_ms, by)


def decide(rollout: Rollout, champion: Arm, challenger: Arm, now_ms: int) -> Decision:
    """Hold, advance, promote or roll back.

    Harm is looked for first and asks for no minimum of answers; failures need no scores at all. Going on asks that the
    challenger is proven no worse than the margin, on enough answers of this step; where that is not known, it holds,
    and where `max_hours` have passed, it rolls back. Raises: Conflict where the rollout is over.
    """
    _check_running(rollout)
    plan = rollout.plan
    bounds = quality_bounds(plan, champion, challenger)
    error_low = share_low(challenger.failed, challenger.answered, plan.alpha / 2 / len(plan.steps))
    evidence = _evidence(rollout, champion, challenger, bounds) | {"error_low": error_low}
    if harm := _harm(plan, bounds, error_low):
        return Decision(kind="roll_back", reason=harm, evidence=evidence)
    doubt = _doubt(rollout, champion, challenger, bounds)
    is_last = rollout.step == len(plan.steps) - 1
    if not doubt and is_last:
        reason = f"surely no worse than the champion by {plan.margin:g}, at the last step"
        return Decision(kind="promote", reason=reason, evidence=evidence)
    if now_ms - rollout.started_ms >= plan.max_hours * _HOUR_MS:
        reason = f"undecided after {plan.max_hours:g} hours: {doubt or 'the last step was not reached'}"
        return Decision(kind="roll_back", reason=reason, evidence=evidence)
    if not doubt:
        reason = f"surely no worse than the champion by {plan.margin:g}"
        return Decision(kind="advance", reason=reason, evidence=evidence)
    return Decision(kind="hold", reason=doubt, evidence=evidence)


def quality_bounds(plan: Plan, champion: Arm, challenger: Arm) -> dict[StepKind, Bounds]:
    """Bounds on (challenger - champion) for each body of evidence that both sides have a part in."""
    alpha = plan.alpha / 2 / len({step.kind for step in plan.steps})
    bounds: dict[StepKind, Bounds] = {}
    if champion.shadow_scores and challenger.shadow_scores:
        bounds["shadow"] = paired_bounds(champion.shadow_scores, challenger.shadow_scores, alpha)
    if champion.scores and challenger.scores:
        before, after = BettingSequence(alpha), BettingSequence(alpha)
        before.extend(champion.scores)
        after.extend(challenger.scores)
        bounds["canary"] = difference_bounds(before, after)
    return bounds


def advance(rollout: Rollout, decision: Decision, now_ms: int) -> Rollout:
    """The rollout after a decision, its event appended.

    A hold for the same reason as the last event's changes nothing: the same rollout comes back, and need not be
    written. Raises: Conflict where the rollout is over.
    """
    _check_running(rollout)
    kind = _EVENTS[decision.kind]
    last = rollout.events[-1] if rollout.events else None
    if kind == "held" and last and (last.kind, last.step, last.reason) == (kind, rollout.step, decision.reason):
        return rollout
    moved = _record(rollout, kind, decision.reason, decision.evidence, now_ms, CONTROL)
    if kind != "advanced":
        return moved
    if rollout.step + 1 >= len(rollout.plan.steps):
        raise Conflict(f"rollout {rollout.id} is at its last step", expected="a decision to promote, hold or roll back")
    return msgspec.structs.replace(moved, step=rollout.step + 1, step_started_ms=now_ms)


def cancel(rollout: Rollout, reason: str, now_ms: int, *, by: str = "") -> Rollout:
    """The rollout, ended by a person. Raises: Conflict where it is over."""
    _check_running(rollout)
    return _record(rollout, "cancelled", reason, {}, now_ms, by)


def _new_rollout(
    service: str, champion: str, challenger: str, plan: Plan, now_ms: int, by: str, verdict_id: str
) -> Rollout:
    id = new_id()
    event = RolloutEvent(at_ms=now_ms, kind="started", step=0, reason="started", by=by)
    return Rollout(
        id=id,
        service=service,
        champion=champion,
        challenger=challenger,
        plan=plan,
        salt=id,
        state="running",
        step=0,
        started_ms=now_ms,
        step_started_ms=now_ms,
        events=(event,),
        verdict_id=verdict_id,
    )


def _record(
    rollout: Rollout, kind: EventKind, reason: str, evidence: dict[str, float], now_ms: int, by: str
) -> Rollout:
    event = RolloutEvent(at_ms=now_ms, kind=kind, step=rollout.step, reason=reason, evidence=evidence, by=by)
    events = (*rollout.events, event)
    if kind not in _END_STATES:
        return msgspec.structs.replace(rollout, events=events)
    return msgspec.structs.replace(rollout, events=events, state=_END_STATES[kind], finished_ms=now_ms)


def _check_running(rollout: Rollout) -> None:
    if rollout.state != "running":
        raise Conflict(f"rollout {rollout.id} is {rollout.state}", expected="a running rollout")


def _harm(plan: Plan, bounds: dict[StepKind, Bounds], error_low: float) -> str:
    """What surely speaks against the challenger; empty while nothing does."""
    if error_low > plan.max_error_share:
        return f"at least {error_low:.1%} of its answers fail; {plan.max_error_share:.1%} are allowed"
    for kind, bound in bounds.items():
        if bound.high < -plan.margin:
            return f"worse than the champion by at least {-bound.high:.3f} ({kind}); {plan.margin:g} is allowed"
    return ""


def _doubt(rollout: Rollout, champion: Arm, challenger: Arm, bounds: dict[StepKind, Bounds]) -> str:
    """What keeps the current step from being done; empty where nothing does."""
    plan, step = rollout.plan, rollout.plan.steps[rollout.step]
    if not champion.scored or not challenger.scored or step.kind not in bounds:
        return "no scored answers of both sides yet"
    if min(champion.scored, challenger.scored) < step.min_samples:
        return f"fewer than {step.min_samples} scored answers of each side in this step"
    if challenger.failed > plan.max_error_share * challenger.answered:
        return "more answers fail than allowed, though not yet surely"
    if bounds[step.kind].low <= -plan.margin:
        return f"not yet sure that it is no worse than the champion by {plan.margin:g}"
    return ""


def _evidence(rollout: Rollout, champion: Arm, challenger: Arm, bounds: dict[StepKind, Bounds]) -> dict[str, float]:
    """The numbers of this moment, those of the current step's kind for quality."""
    kind = rollout.plan.steps[rollout.step].kind
    before = champion.shadow_scores if kind == "shadow" else champion.scores
    after = challenger.shadow_scores if kind == "shadow" else challenger.scores
    numbers = {
        "champion_scored": float(len(before)),
        "challenger_scored": float(len(after)),
        "step_scored": float(min(champion.scored, challenger.scored)),
        "answered": float(challenger.answered),
        "failed": float(challenger.failed),
    }
    if before and after:
        numbers |= {"champion_mean": sum(before) / len(before), "challenger_mean": sum(after) / len(after)}
    for name, bound in bounds.items():
        numbers |= {f"{name}_low": bound.low, f"{name}_high": bound.high}
    return numbers
