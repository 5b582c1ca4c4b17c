"""Rollouts: begun by a person or a workflow, carried on by the control loop.

The route table follows from what is written here; see `routes.py`.
"""

import msgspec

from modelyard.core.clock import now_ms
from modelyard.core.errors import Conflict, Refused
from modelyard.ports.records import Records
from modelyard.ports.release import Release, Stage
from modelyard.ports.rollout import Plan, Rollout
from modelyard.project.model import Project
from modelyard.rollout.evidence import gather
from modelyard.rollout.machine import Decision, advance, cancel, decide, launch, start
from modelyard.workflows.releases import archive_release, mirror_release, move_release
from modelyard.workflows.routes import champion_of
from modelyard.workflows.tools import Tools

_HOUR_MS = 3_600_000


def begin_rollout(tools: Tools, project: Project, service: str, release: Release, plan: Plan) -> Rollout:
    """Put a release before its callers: step by step against the champion, or at once where there is none.

    Raises: Refused where the release may not take traffic; Conflict where it does already, or a rollout is running.
    """
    champion = champion_of(tools.records, service)
    if release.digest == champion:
        raise Conflict(f"{release.ref} is the champion of '{service}' already", fix="roll out another release")
    _reach(tools, project, service, release, "staging", f"to be rolled out on '{service}'")
    if champion:
        rollout = start(service, champion, release.digest, plan, now_ms())
    else:
        _reach(tools, project, service, release, "production", f"the first release of '{service}'")
        rollout = launch(service, release.digest, plan, now_ms())
    tools.records.rollouts.add(rollout)
    mirror_release(tools, project, service, release.digest, "challenger" if champion else "champion")
    return rollout


def cancel_rollout(tools: Tools, id: str, reason: str) -> Rollout:
    """End a rollout by hand: the champion answers everyone again. The challenger stays in `staging`."""
    rollout = tools.records.rollouts.get(id)
    cancelled = cancel(rollout, reason, now_ms())
    tools.records.rollouts.replace(cancelled, expected_events=len(rollout.events))
    return cancelled


def step_rollouts(tools: Tools, project: Project) -> list[Rollout]:
    """Look at the evidence of every running rollout once, write down what follows from it, and return them all."""
    return [_step(tools, project, rollout) for rollout in tools.records.rollouts.running()]


def _step(tools: Tools, project: Project, rollout: Rollout) -> Rollout:
    decision = _decide(tools.records, rollout)
    if decision.kind == "promote":
        decision = _promote(tools, project, rollout, decision)
    if decision.kind == "roll_back":
        # First the traffic, then the stage: nothing may stand between a bad release and its rollback.
        rolled_back = _write(tools.records, rollout, decision)
        archive_release(tools, tools.records.releases.get(rollout.challenger), f"rolled back: {decision.reason}")
        # A promotion that was killed half way may have put the champion away.
        champion = tools.records.releases.get(rollout.champion)
        _reach(tools, project, rollout.service, champion, "production", "rolled back to")
        return rolled_back
    return _write(tools.records, rollout, decision)


def _decide(records: Records, rollout: Rollout) -> Decision:
    scored = records.interactions.scored(
        rollout.service, since_ms=rollout.started_ms, rollout_id=rollout.id, metric=rollout.plan.metric
    )
    return decide(rollout, *gather(rollout, scored), now_ms())


def _write(records: Records, rollout: Rollout, decision: Decision) -> Rollout:
    after = advance(rollout, decision, now_ms())
    if after is not rollout:
        records.rollouts.replace(after, expected_events=len(rollout.events))
    return after


def _promote(tools: Tools, project: Project, rollout: Rollout, decision: Decision) -> Decision:
    """Move the stages ahead of the traffic; where the registry refuses, the rollout holds with its reason."""
    challenger = tools.records.releases.get(rollout.challenger)
    try:
        _reach(tools, project, rollout.service, challenger, "production", decision.reason)
    except Refused as refusal:
        late = now_ms() - rollout.started_ms >= rollout.plan.max_hours * _HOUR_MS
        return msgspec.structs.replace(decision, kind="roll_back" if late else "hold", reason=refusal.seen)
    champion = tools.records.releases.get(rollout.champion)
    archive_release(tools, champion, f"succeeded by {challenger.ref}")
    return decision


def _reach(tools: Tools, project: Project, service: str, release: Release, stage: Stage, reason: str) -> None:
    """Bring a release to a stage by the registry's rules, unless an earlier try did."""
    reached: dict[Stage, tuple[Stage, ...]] = {"staging": ("staging", "production"), "production": ("production",)}
    if tools.records.releases.stage(release.digest) not in reached[stage]:
        move_release(tools, project, service, release, stage, reason)
