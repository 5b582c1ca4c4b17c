"""Rollouts: begun by a person or a workflow, carried on by the control loop.

What is written here comes first; the route table (`routes.py`) and the stages of the releases follow from it, so a kill
between two lines leaves nothing that the next look does not mend.
"""

from contextlib import suppress
from dataclasses import dataclass

import msgspec

from modelyard.core.clock import monotonic_s, now_ms
from modelyard.core.errors import Conflict, NotFound, Refused
from modelyard.ports.records import Records
from modelyard.ports.release import Release
from modelyard.ports.rollout import Plan, Rollout
from modelyard.project.model import Project
from modelyard.registry.stages import Goal, check, check_return, follow, last_evidence
from modelyard.rollout.evidence import Arm, gather
from modelyard.rollout.machine import CONTROL, Decision, advance, bring_back, cancel, decide, launch, start
from modelyard.workflows.releases import policy_of
from modelyard.workflows.routes import champion_of, services_of
from modelyard.workflows.tools import Tools, said

_HOUR_MS = 3_600_000
# A look at very many answers takes seconds: then the loop does other things four times as long.
_MANY = 10_000
_PAUSE = 4.0


@dataclass(frozen=True, kw_only=True)
class _Look:
    ingested: int
    step: int
    arms: tuple[Arm, Arm]
    rests_until_s: float


class Looks:
    """What the evidence of each running rollout said, until something is ingested."""

    def __init__(self) -> None:
        self._seen: dict[str, _Look] = {}

    def arms(self, records: Records, rollout: Rollout) -> tuple[Arm, Arm]:
        """The champion's and the challenger's arm."""
        ingested = records.interactions.ingested()
        seen = self._seen.get(rollout.id)
        if seen and seen.step == rollout.step and (seen.ingested == ingested or monotonic_s() < seen.rests_until_s):
            return seen.arms
        began_s = monotonic_s()
        scored = list(
            records.interactions.scored(
                rollout.service, since_ms=rollout.started_ms, rollout_id=rollout.id, metric=rollout.plan.metric
            )
        )
        arms = gather(rollout, scored)
        took_s = monotonic_s() - began_s
        rests_until_s = monotonic_s() + _PAUSE * took_s if len(scored) >= _MANY else 0.0
        self._seen[rollout.id] = _Look(ingested=ingested, step=rollout.step, arms=arms, rests_until_s=rests_until_s)
        return arms

    def forget_others(self, rollouts: list[Rollout]) -> None:
        """Keep only what is known of these."""
        kept = {rollout.id for rollout in rollouts}
        self._seen = {id: seen for id, seen in self._seen.items() if id in kept}


def begin_rollout(tools: Tools, project: Project, service: str, release: Release, plan: Plan) -> Rollout:
    """Put a release before its callers: step by step against the champion, or at once where there is none.

    Raises: Refused where the release may not take traffic; Conflict where it does already, or a rollout is running.
    """
    settle_stages(tools, service)
    champion = champion_of(tools.records, service)
    if release.digest == champion:
        raise Conflict(f"{release.ref} is the champion of '{service}' already", fix="roll out another release")
    policy = policy_of(project, service)
    goal: Goal = "staging" if champion else "production"
    verdict_id = check(tools.records, release, goal, policy=policy, service=service)
    if champion:
        rollout = start(service, champion, release.digest, plan, now_ms(), by=tools.actor, verdict_id=verdict_id)
    else:
        rollout = launch(service, release.digest, now_ms(), by=tools.actor, verdict_id=verdict_id)
    tools.records.rollouts.add(rollout)
    settle_stages(tools, service)
    return rollout


def cancel_rollout(tools: Tools, id: str, reason: str) -> Rollout:
    """End a rollout by hand: the champion answers everyone again. The challenger stays in `staging`."""
    rollout = tools.records.rollouts.get(id)
    cancelled = cancel(rollout, said("the reason", reason), now_ms(), by=tools.actor)
    tools.records.rollouts.replace(cancelled, expected_events=len(rollout.events))
    settle_stages(tools, rollout.service)
    return cancelled


def roll_back(tools: Tools, service: str, reason: str) -> Rollout:
    """Give all traffic back to the champion before this one, at once and without the champion's help.

    Raises: Refused where there is none, or it may not return; Conflict while a rollout runs.
    """
    settle_stages(tools, service)
    line = _champions(tools.records, service)
    if len(line) < 2:
        raise Refused(f"no release served '{service}' before the present one", expected="a former champion")
    champion, former = line[-1], tools.records.releases.get(line[-2])
    verdict_id = check_return(tools.records, former, service)
    reason = said("the reason", reason)
    rollout = bring_back(service, champion, former.digest, reason, now_ms(), by=tools.actor, verdict_id=verdict_id)
    tools.records.rollouts.add(rollout)
    settle_stages(tools, service)
    return rollout


def _champions(records: Records, service: str) -> list[str]:
    """The line of champions up to the present one. One that came back stands where it stood, without its followers."""
    line: list[str] = []
    for rollout in reversed(records.rollouts.newest(service)):
        if rollout.state == "promoted":
            digest = rollout.challenger
            line = line[: line.index(digest) + 1] if digest in line else [*line, digest]
    return line


def step_rollout(tools: Tools, project: Project, rollout: Rollout, looks: Looks) -> Rollout:
    """Look at the evidence of a running rollout once, write down what follows from it, and return it.

    Only the traffic is decided here: no stage stands between a bad release and its rollback. See `settle_stages`.
    """
    decision = decide(rollout, *looks.arms(tools.records, rollout), now_ms())
    verdict_id = rollout.verdict_id
    if decision.kind == "promote":
        try:
            verdict_id = _check_promotion(tools.records, project, rollout)
        except (Refused, NotFound) as refusal:
            late = now_ms() - rollout.started_ms >= rollout.plan.max_hours * _HOUR_MS
            decision = msgspec.structs.replace(decision, kind="roll_back" if late else "hold", reason=refusal.seen)
    after = _advance(rollout, decision, verdict_id)
    if after is not rollout:
        tools.records.rollouts.replace(after, expected_events=len(rollout.events))
    return after


def _check_promotion(records: Records, project: Project, rollout: Rollout) -> str:
    challenger = records.releases.get(rollout.challenger)
    policy = policy_of(project, rollout.service)
    return check(records, challenger, "production", policy=policy, service=rollout.service)


def _advance(rollout: Rollout, decision: Decision, verdict_id: str) -> Rollout:
    after = advance(rollout, decision, now_ms())
    return after if after is rollout else msgspec.structs.replace(after, verdict_id=verdict_id)


def settle_stages(tools: Tools, service: str) -> None:
    """Bring the stages of the service's releases to where its last rollout put their traffic. Cheap where they are.

    A release that another service uses is not archived. Where another process settles the same, it is left to it.
    """
    with suppress(Conflict):
        for rollout in tools.records.rollouts.latest(service):
            _settle(tools.records, rollout)


def _settle(records: Records, rollout: Rollout) -> None:
    first, last = rollout.events[0], rollout.events[-1]
    if rollout.state in ("running", "cancelled"):
        reason, by = f"to be rolled out on '{rollout.service}'", first.by or CONTROL
        follow(records, rollout.challenger, "staging", by, reason, verdict_id=rollout.verdict_id)
    if serving := rollout.serving:
        is_new = rollout.state == "promoted"
        reason = last.reason if is_new else f"it serves '{rollout.service}'"
        verdict_id = rollout.verdict_id if is_new else last_evidence(records, serving)
        by = (last.by if is_new else "") or CONTROL
        follow(records, serving, "production", by, reason, verdict_id=verdict_id)
    done = {"promoted": rollout.champion, "rolled_back": rollout.challenger}.get(rollout.state)
    if done and records.releases.stage(done) != "archived" and not services_of(records, done):
        why = "rolled back" if rollout.state == "rolled_back" else f"succeeded by {records.releases.get(serving).ref}"
        reason = f"{why}: {last.reason}" if rollout.state == "rolled_back" else why
        follow(records, done, "archived", last.by or CONTROL, reason, verdict_id="")
