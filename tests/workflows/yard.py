"""Releases with verdicts, and traffic with known scores, written straight into the records."""

from collections.abc import Sequence

from modelyard.core.clock import now_ms
from modelyard.core.digests import digest_text
from modelyard.core.ids import new_id
from modelyard.ports.interaction import Feedback, Interaction, JournalEntry
from modelyard.ports.records import JournalMark
from modelyard.ports.release import ModelRef, Release
from modelyard.ports.rollout import Rollout
from modelyard.ports.routes import Role, Service
from modelyard.ports.verdict import Check, Verdict
from modelyard.project.model import Project
from modelyard.workflows.releases import policy_of
from modelyard.workflows.rollouts import Looks, settle_stages, step_rollout
from modelyard.workflows.routes import build_service
from modelyard.workflows.tools import Tools


def step_all(tools: Tools, project: Project) -> list[Rollout]:
    """What the control loop does with the rollouts in one turn."""
    stepped = [step_rollout(tools, project, rollout, Looks()) for rollout in tools.records.rollouts.running()]
    for rollout in stepped:
        settle_stages(tools, rollout.service)
    return stepped


def services_now(tools: Tools, project: Project) -> tuple[Service, ...]:
    """The launched services as they should be served."""
    found = (build_service(tools.records, project, name, "http://engine") for name in sorted(project.services))
    return tuple(service for service in found if service)


def make_release(
    tools: Tools, project: Project, name: str, *, passed: bool = True, adapter: str = "", service: str = "support"
) -> Release:
    """A recorded draft with a verdict under the service's policy."""
    release = Release(
        name="support",
        base=ModelRef(name="base", digest=digest_text("base")),
        adapter=adapter or digest_text(name),
        tokenizer_digest=digest_text("tokenizer"),
        template_digest=digest_text("template"),
        created_ms=now_ms(),
    )
    tools.records.releases.add(release)
    judge(tools, project, release, passed=passed, service=service)
    return release


def judge(
    tools: Tools, project: Project, release: Release, *, passed: bool = True, service: str = "support"
) -> Verdict:
    """A recorded verdict on a release under a service's policy."""
    policy = policy_of(project, service)
    verdict = Verdict(
        id=new_id(),
        release=release.digest,
        policy=policy.name,
        policy_digest=policy.digest,
        passed=passed,
        checks=(Check(name="exact_match", passed=passed, seen="0.9" if passed else "0.1", demanded="at least 0.8"),),
        reports=(),
        created_ms=now_ms(),
    )
    tools.records.verdicts.add(verdict)
    return verdict


def make_traffic(
    tools: Tools, rollout: Rollout, role: Role, scores: Sequence[float], *, propensity: float
) -> list[str]:
    """Answers under a rollout with a score each; returns their ids. A shadow's scores need `make_shadows`."""
    release = rollout.champion if role == "champion" else rollout.challenger
    entries: list[JournalEntry] = []
    for score in scores:
        given = make_interaction(rollout, role, release, propensity=propensity)
        entries += [given, make_feedback(given.id, score)]
    ingest(tools, entries)


def make_shadows(tools: Tools, rollout: Rollout, pairs: Sequence[tuple[bool, bool]]) -> None:
    """Shadowed requests: whether the champion's and the shadow's answer were right."""
    entries: list[JournalEntry] = []
    for champion_right, shadow_right in pairs:
        first = make_interaction(rollout, "champion", rollout.champion, answer="right" if champion_right else "wrong")
        copy = make_interaction(
            rollout, "shadow", rollout.challenger, answer="right" if shadow_right else "wrong", shadow_of=first.id
        )
        feedback = Feedback(
            id=new_id(), interaction_id=first.id, at_ms=now_ms(), tenant="t", expected_hash=digest_text("right"),
            score=float(champion_right),
        )  # fmt: skip
        entries += [first, copy, feedback]
    ingest(tools, entries)


def make_interaction(
    rollout: Rollout, role: Role, release: str, *, propensity: float = 1.0, answer: str = "", shadow_of: str = ""
) -> Interaction:
    """One recorded answer."""
    return Interaction(
        id=new_id(),
        at_ms=now_ms(),
        service=rollout.service,
        tenant="t",
        key_id="k",
        unit=new_id(),
        release=release,
        role=role,
        propensity=propensity,
        table_version=1,
        rollout_id=rollout.id,
        answer_hash=digest_text(answer),
        shadow_of=shadow_of,
    )


def make_feedback(interaction_id: str, score: float) -> Feedback:
    """A score for an answer."""
    return Feedback(id=new_id(), interaction_id=interaction_id, at_ms=now_ms(), tenant="t", score=score)


def ingest(tools: Tools, entries: Sequence[JournalEntry]) -> None:
    """Put entries into the records as the ingester does."""
    tools.records.interactions.ingest(entries, JournalMark(segment=new_id(), offset=1))
