"""Stages: the one road to production, and who may take which step on it.

    draft ──> staging ──> production ──> archived ──> production (only to roll back to it)
      └──────────┴─────────────────────────^

Knows nothing of gateways: a release that was archived may go on answering until the next route table.
"""

from collections.abc import Iterable
from typing import Literal, NoReturn

from modelyard.core.clock import now_ms
from modelyard.core.errors import NotFound, Refused
from modelyard.core.ids import new_id
from modelyard.ports.records import Records
from modelyard.ports.release import Release, Stage, StageMove
from modelyard.ports.verdict import Approval, Verdict
from modelyard.registry.policy import Policy

Goal = Literal["staging", "production"]
# The steps to each stage from where they are needed.
ROADS: dict[Stage, dict[Stage, tuple[Stage, ...]]] = {
    "draft": {},
    "staging": {"draft": ("staging",)},
    "production": {"draft": ("staging", "production"), "staging": ("production",), "archived": ("production",)},
    "archived": {"draft": ("archived",), "staging": ("archived",), "production": ("archived",)},
}


def check(records: Records, release: Release, to_stage: Goal, *, policy: Policy, service: str) -> str:
    """The id of the verdict by which a release may go on trial (`staging`) or serve (`production`) for a service.

    It asks by this service's policy, whatever stage the release has reached, perhaps for another service.
    Raises: Refused with every unmet demand; NotFound for an unknown release.
    """
    if demands := unmet_demands(records, release, to_stage, policy=policy, service=service):
        _refuse(release, to_stage, service, demands)
    return _evidence(records, release, policy)


def check_return(records: Records, release: Release, service: str) -> str:
    """The id of the verdict that once led a former champion to production: it may come back by that.

    Raises: Refused with every unmet demand; NotFound for an unknown release.
    """
    records.releases.get(release.digest)
    if demands := _return_demands(records, release, service):
        _refuse(release, "production", service, demands)
    return last_evidence(records, release.digest)


def follow(records: Records, release: str, to_stage: Stage, actor: str, reason: str, *, verdict_id: str) -> None:
    """Bring a release's stage to where its traffic is, by every step of the road between. No step back to `staging`.

    It asks for nothing: what `check` demands was met before the traffic was given, and traffic that was taken away
    needs nothing. Done already, it does nothing. Raises: NotFound; Conflict where the release moved meanwhile.
    """
    from_stage = records.releases.stage(release)
    for step in ROADS[to_stage].get(from_stage, ()):
        _move(records, release, from_stage, step, actor, reason, verdict_id)
        from_stage = step


def archive(records: Records, release: Release, actor: str, reason: str) -> StageMove:
    """Put a release away: kept for audit and rollback, no new traffic. It asks for no evidence.

    Raises: Refused where it is archived already, or nobody or no reason is named; NotFound; Conflict.
    """
    from_stage = records.releases.stage(release.digest)
    demands = _unsigned(actor, reason)
    if from_stage == "archived":
        demands.insert(0, "it is archived already")
    if demands:
        raise Refused(f"{release.ref} cannot be archived: " + "; ".join(demands))
    return _move(records, release.digest, from_stage, "archived", actor, reason, "")


def unmet_demands(records: Records, release: Release, to_stage: Goal, *, policy: Policy, service: str) -> list[str]:
    """What still keeps a release from trial or full traffic of a service, one sentence each; empty if nothing does."""
    if records.releases.stage(release.digest) == "archived":
        return ["it is archived: a former champion comes back by `modelyard rollout back` alone"]
    if to_stage == "staging":
        return _staging_demands(records, release, policy)
    return [
        *_verdict_demands(newest_verdict(records, release, policy), policy),
        *_approval_demands(records, release, policy),
        *_rollback_demands(records, release, service),
    ]


def newest_verdict(records: Records, release: Release, policy: Policy) -> Verdict | None:
    """The newest verdict on a release under exactly these demands: a pass under other ones proves nothing."""
    verdicts = records.verdicts.newest(release.digest)
    return next((verdict for verdict in verdicts if verdict.policy_digest == policy.digest), None)


def _staging_demands(records: Records, release: Release, policy: Policy) -> list[str]:
    verdict = newest_verdict(records, release, policy)
    unmet = _verdict_demands(verdict, policy)
    if verdict is None:
        return unmet
    decisions = _last_decisions(records.verdicts.approvals(verdict.id))
    rejections = _rejections(decisions)
    overriders = _people(decisions, "override") - _barred(records, release, policy, "override")
    return rejections if overriders else unmet + rejections


def _verdict_demands(verdict: Verdict | None, policy: Policy) -> list[str]:
    if verdict is None:
        return [f"there is no verdict under the policy '{policy.name}' as it stands now"]
    failed = [check.name for check in verdict.checks if not check.passed]
    if failed:
        return [f"the verdict {verdict.id} did not pass: {', '.join(failed)}"]
    if not verdict.passed or not verdict.checks:
        return [f"the verdict {verdict.id} did not pass"]
    return []


def _approval_demands(records: Records, release: Release, policy: Policy) -> list[str]:
    verdict = newest_verdict(records, release, policy)
    decisions = _last_decisions(records.verdicts.approvals(verdict.id)) if verdict else {}
    unmet = _rejections(decisions)
    if not policy.approvals:
        return unmet
    approvers = _people(decisions, "approve") - _barred(records, release, policy, "approve")
    if len(approvers) < policy.approvals:
        others = "" if policy.owner_may_approve else " other than the owner of the run"
        unmet.append(f"{len(approvers)} of {policy.approvals} approvals by people{others}")
    if not policy.owner_may_approve and release.run_id and not _owner(records, release):
        unmet.append(f"the run {release.run_id} names no owner in the records, so nobody knows who may not approve")
    return unmet


def _rollback_demands(records: Records, release: Release, service: str) -> list[str]:
    """Another release of the service that is or was in production, unless none ever served it."""
    served = _served(records, service) - {release.digest}
    if served and not any(_was_in_production(records, digest) for digest in served):
        return [f"no release to roll back to: nothing that served '{service}' was ever in production"]
    return []


def _return_demands(records: Records, release: Release, service: str) -> list[str]:
    unmet = []
    if not _was_in_production(records, release.digest):
        unmet.append("it was never in production, so it is nothing to roll back to")
    if release.digest not in _served(records, service):
        unmet.append(f"it never served '{service}'")
    return unmet


def _served(records: Records, service: str) -> set[str]:
    """The releases that ever were champion of a service, by its rollouts."""
    rollouts = records.rollouts.newest(service)
    champions = {rollout.champion for rollout in rollouts}
    return (champions | {rollout.challenger for rollout in rollouts if rollout.state == "promoted"}) - {""}


def _was_in_production(records: Records, digest: str) -> bool:
    return any(move.to_stage == "production" for move in records.releases.moves(digest))


def last_evidence(records: Records, digest: str) -> str:
    """The verdict behind a release's last move to production."""
    earlier = [move for move in records.releases.moves(digest) if move.to_stage == "production"]
    return earlier[-1].verdict_id if earlier else ""


def _evidence(records: Records, release: Release, policy: Policy) -> str:
    verdict = newest_verdict(records, release, policy)
    return verdict.id if verdict else ""


def _last_decisions(approvals: Iterable[Approval]) -> dict[str, Approval]:
    """The last word of each person, by a name that case and spaces do not change. Nameless decisions do not count."""
    ordered = sorted(approvals, key=lambda one: (one.at_ms, one.id))
    return {_fold(one.person): one for one in ordered if _fold(one.person)}


def _people(decisions: dict[str, Approval], decision: str) -> set[str]:
    return {person for person, one in decisions.items() if one.decision == decision}


def _rejections(decisions: dict[str, Approval]) -> list[str]:
    rejecting = [one for one in decisions.values() if one.decision == "reject"]
    return [f"{one.person} rejected it: {one.reason or 'no reason given'}" for one in rejecting]


def _barred(records: Records, release: Release, policy: Policy, decision: str) -> set[str]:
    """Whose word does not count: the owner's, unless the policy allows it.

    An override by the owner is barred only under a policy that asks for approvals: one who works alone has nobody else.
    """
    if policy.owner_may_approve or (decision == "override" and not policy.approvals):
        return set()
    owner = _owner(records, release)
    return {_fold(owner)} if owner else set()


def _owner(records: Records, release: Release) -> str:
    try:
        return records.runs.get(release.run_id).owner if release.run_id else ""
    except NotFound:
        return ""


def _fold(name: str) -> str:
    return " ".join(name.split()).casefold()


def _unsigned(actor: str, reason: str) -> list[str]:
    missing = [name for name, value in (("the person who moves it", actor), ("a reason", reason)) if not value.strip()]
    return [f"{name} must be named" for name in missing]


def _refuse(release: Release, to_stage: Goal, service: str, demands: list[str]) -> NoReturn:
    wanted = "go on trial on" if to_stage == "staging" else "serve"
    raise Refused(
        f"{release.ref} may not {wanted} '{service}': " + "; ".join(demands),
        expected=f"every demand of the stage {to_stage} met",
        fix="`modelyard release show` lists its verdicts; `modelyard release gate` judges it anew",
    )


def _move(
    records: Records, release: str, from_stage: Stage, to_stage: Stage, actor: str, reason: str, verdict_id: str
) -> StageMove:
    move = StageMove(
        id=new_id(),
        release=release,
        from_stage=from_stage,
        to_stage=to_stage,
        actor=actor,
        reason=reason,
        at_ms=now_ms(),
        verdict_id=verdict_id,
    )
    records.releases.move(move)
    return move
