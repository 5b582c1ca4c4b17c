"""Rollouts on real records: the one road to production, the way forward, and the way back."""

import msgspec
import pytest

from modelyard.core.errors import Conflict, Refused
from modelyard.ports.release import Release
from modelyard.ports.rollout import Rollout
from modelyard.project.model import Project
from modelyard.workflows.releases import archive_release
from modelyard.workflows.rollouts import begin_rollout, cancel_rollout, step_rollouts
from modelyard.workflows.routes import build_services, champion_of
from modelyard.workflows.tools import Tools
from modelyard.workflows.verdicts import decide
from tests.workflows.yard import make_release, make_shadows, make_traffic


def begin(tools: Tools, project: Project, release: Release) -> Rollout:
    return begin_rollout(tools, project, "support", release, project.rollouts["quick"].plan())


def stage(tools: Tools, release: Release) -> str:
    return tools.records.releases.stage(release.digest)


@pytest.fixture
def champion(tools: Tools, project: Project) -> Release:
    release = make_release(tools, project, "champion")
    begin(tools, project, release)
    return release


def test_the_first_release_takes_all_traffic(tools: Tools, project: Project, champion: Release) -> None:
    assert stage(tools, champion) == "production"
    assert champion_of(tools.records, "support") == champion.digest
    (service,) = build_services(tools.records, project, "http://engine")
    assert service.champion.release == champion.digest
    assert service.challenger is None


def test_a_release_that_failed_its_gate_takes_no_traffic(tools: Tools, project: Project, champion: Release) -> None:
    bad = make_release(tools, project, "bad", passed=False)
    with pytest.raises(Refused, match="did not pass"):
        begin(tools, project, bad)
    assert stage(tools, bad) == "draft"
    assert tools.records.rollouts.running() == []


def test_a_release_never_gated_takes_no_traffic(tools: Tools, project: Project) -> None:
    release = msgspec.structs.replace(make_release(tools, project, "gated"), adapter="sha256:other")
    tools.records.releases.add(release)
    with pytest.raises(Refused, match="no verdict"):
        begin(tools, project, release)


def test_a_better_challenger_is_shadowed_tried_and_promoted(tools: Tools, project: Project, champion: Release) -> None:
    challenger = make_release(tools, project, "challenger")
    rollout = begin(tools, project, challenger)
    assert stage(tools, challenger) == "staging"
    (service,) = build_services(tools.records, project, "http://engine")
    assert (service.shadow, service.weight_bp) == (True, 0)

    make_shadows(tools, rollout, [(number % 2 == 0, True) for number in range(60)])
    (rollout,) = step_rollouts(tools, project)
    assert rollout.step == 1
    (service,) = build_services(tools.records, project, "http://engine")
    assert (service.shadow, service.weight_bp) == (False, 5000)

    make_traffic(tools, rollout, "champion", [0.0, 1.0] * 40, propensity=0.5)
    make_traffic(tools, rollout, "challenger", [1.0] * 80, propensity=0.5)
    (rollout,) = step_rollouts(tools, project)
    assert rollout.state == "promoted"
    assert champion_of(tools.records, "support") == challenger.digest
    assert (stage(tools, challenger), stage(tools, champion)) == ("production", "archived")


def forced(tools: Tools, project: Project) -> tuple[Release, Rollout]:
    bad = make_release(tools, project, "bad", passed=False)
    decide(tools, bad, "override", "we want to see")
    rollout = begin(tools, project, bad)
    make_shadows(tools, rollout, [(True, True)] * 400)
    (rollout,) = step_rollouts(tools, project)
    assert rollout.step == 1
    return bad, rollout


def test_a_bad_challenger_is_rolled_back_whole(tools: Tools, project: Project, champion: Release) -> None:
    bad, rollout = forced(tools, project)
    make_traffic(tools, rollout, "champion", [1.0] * 30, propensity=0.5)
    make_traffic(tools, rollout, "challenger", [0.0] * 30, propensity=0.5)
    (rollout,) = step_rollouts(tools, project)
    assert rollout.state == "rolled_back"
    assert (stage(tools, bad), stage(tools, champion)) == ("archived", "production")
    (service,) = build_services(tools.records, project, "http://engine")
    assert service.challenger is None
    assert service.champion.release == champion.digest


def test_an_override_never_reaches_production(tools: Tools, project: Project, champion: Release) -> None:
    bad, rollout = forced(tools, project)
    make_traffic(tools, rollout, "champion", [0.0] * 60, propensity=0.5)
    make_traffic(tools, rollout, "challenger", [1.0] * 60, propensity=0.5)
    for _ in range(3):
        (rollout,) = step_rollouts(tools, project)
    assert rollout.state == "running"
    assert rollout.events[-1].kind == "held"
    assert "did not pass" in rollout.events[-1].reason
    assert len([event for event in rollout.events if event.kind == "held"]) == 1
    assert (stage(tools, bad), stage(tools, champion)) == ("staging", "production")


def test_no_data_holds(tools: Tools, project: Project, champion: Release) -> None:
    begin(tools, project, make_release(tools, project, "challenger"))
    for _ in range(3):
        (rollout,) = step_rollouts(tools, project)
    assert rollout.state == "running"
    assert rollout.step == 0


def test_a_promotion_killed_half_way_is_finished_or_undone(tools: Tools, project: Project, champion: Release) -> None:
    bad, rollout = forced(tools, project)
    # What a kill between the stages and the rollout leaves: the champion archived, the rollout running.
    archive_release(tools, champion, "succeeded")
    make_traffic(tools, rollout, "champion", [1.0] * 30, propensity=0.5)
    make_traffic(tools, rollout, "challenger", [0.0] * 30, propensity=0.5)
    (rollout,) = step_rollouts(tools, project)
    assert rollout.state == "rolled_back"
    assert (stage(tools, bad), stage(tools, champion)) == ("archived", "production")


def test_a_person_can_cancel(tools: Tools, project: Project, champion: Release) -> None:
    challenger = make_release(tools, project, "challenger")
    rollout = cancel_rollout(tools, begin(tools, project, challenger).id, "not today")
    assert rollout.state == "cancelled"
    assert champion_of(tools.records, "support") == champion.digest
    with pytest.raises(Conflict):
        cancel_rollout(tools, rollout.id, "again")
    begin(tools, project, challenger)


def test_what_serves_already_or_is_being_tried_is_not_rolled_out(
    tools: Tools, project: Project, champion: Release
) -> None:
    with pytest.raises(Conflict, match="is the champion"):
        begin(tools, project, champion)
    begin(tools, project, make_release(tools, project, "one"))
    with pytest.raises(Conflict):
        begin(tools, project, make_release(tools, project, "two"))
