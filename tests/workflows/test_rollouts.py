"""Rollouts on real records: the one road to production, the way forward, and the way back."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from modelyard.core.errors import Conflict, InvalidInput, NotFound, Refused
from modelyard.ports.release import Release
from modelyard.ports.rollout import Rollout
from modelyard.project.model import Project
from modelyard.registry.stages import archive
from modelyard.rollout.machine import CONTROL
from modelyard.workflows.keys import create_key
from modelyard.workflows.releases import archive_release
from modelyard.workflows.rollouts import Looks, begin_rollout, cancel_rollout, roll_back, settle_stages, step_rollout
from modelyard.workflows.routes import champion_of
from modelyard.workflows.tools import Tools
from modelyard.workflows.verdicts import decide
from tests.workflows.yard import judge, make_release, make_shadows, make_traffic, services_now, step_all


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
    (service,) = services_now(tools, project)
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
    (service,) = services_now(tools, project)
    assert (service.shadow, service.weight_bp) == (True, 0)

    make_shadows(tools, rollout, [(number % 2 == 0, True) for number in range(60)])
    (rollout,) = step_all(tools, project)
    assert rollout.step == 1
    (service,) = services_now(tools, project)
    assert (service.shadow, service.weight_bp) == (False, 5000)

    make_traffic(tools, rollout, "champion", [0.0, 1.0] * 40, propensity=0.5)
    make_traffic(tools, rollout, "challenger", [1.0] * 80, propensity=0.5)
    (rollout,) = step_all(tools, project)
    assert rollout.state == "promoted"
    assert champion_of(tools.records, "support") == challenger.digest
    assert (stage(tools, challenger), stage(tools, champion)) == ("production", "archived")


def forced(tools: Tools, project: Project) -> tuple[Release, Rollout]:
    bad = make_release(tools, project, "bad", passed=False)
    decide(tools, bad, "override", "we want to see")
    rollout = begin(tools, project, bad)
    make_shadows(tools, rollout, [(True, True)] * 400)
    (rollout,) = step_all(tools, project)
    assert rollout.step == 1
    return bad, rollout


def test_a_bad_challenger_is_rolled_back_whole(tools: Tools, project: Project, champion: Release) -> None:
    bad, rollout = forced(tools, project)
    make_traffic(tools, rollout, "champion", [1.0] * 30, propensity=0.5)
    make_traffic(tools, rollout, "challenger", [0.0] * 30, propensity=0.5)
    (rollout,) = step_all(tools, project)
    assert rollout.state == "rolled_back"
    assert (stage(tools, bad), stage(tools, champion)) == ("archived", "production")
    (service,) = services_now(tools, project)
    assert service.challenger is None
    assert service.champion.release == champion.digest


def test_an_override_never_reaches_production(tools: Tools, project: Project, champion: Release) -> None:
    bad, rollout = forced(tools, project)
    make_traffic(tools, rollout, "champion", [0.0] * 60, propensity=0.5)
    make_traffic(tools, rollout, "challenger", [1.0] * 60, propensity=0.5)
    for _ in range(3):
        (rollout,) = step_all(tools, project)
    assert rollout.state == "running"
    assert rollout.events[-1].kind == "held"
    assert "did not pass" in rollout.events[-1].reason
    assert len([event for event in rollout.events if event.kind == "held"]) == 1
    assert (stage(tools, bad), stage(tools, champion)) == ("staging", "production")


def test_no_data_holds(tools: Tools, project: Project, champion: Release) -> None:
    begin(tools, project, make_release(tools, project, "challenger"))
    for _ in range(3):
        (rollout,) = step_all(tools, project)
    assert rollout.state == "running"
    assert rollout.step == 0


def test_a_promotion_killed_half_way_is_finished_or_undone(tools: Tools, project: Project, champion: Release) -> None:
    bad, rollout = forced(tools, project)
    # What a kill between the stages and the rollout leaves: the champion archived, the rollout running.
    archive(tools.records, champion, "ada", "succeeded")
    make_traffic(tools, rollout, "champion", [1.0] * 30, propensity=0.5)
    make_traffic(tools, rollout, "challenger", [0.0] * 30, propensity=0.5)
    (rollout,) = step_all(tools, project)
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


@pytest.fixture
def two_services(project: Project) -> Project:
    """A second service, `billing`, whose policy asks for more."""
    strict = project.policies["careful"].model_copy(update={"min": {"exact_match": 0.99}})
    policies = {**project.policies, "strict": strict}
    billing = project.services["support"].model_copy(update={"policy": "strict"})
    return project.model_copy(update={"policies": policies, "services": {**project.services, "billing": billing}})


def begin_on(tools: Tools, project: Project, service: str, release: Release) -> Rollout:
    return begin_rollout(tools, project, service, release, project.rollouts["quick"].plan())


def promote(tools: Tools, project: Project, name: str) -> Release:
    """A release that came to production by a whole rollout."""
    release = make_release(tools, project, name)
    rollout = begin(tools, project, release)
    make_shadows(tools, rollout, [(number % 2 == 0, True) for number in range(60)])
    (rollout,) = step_all(tools, project)
    make_traffic(tools, rollout, "champion", [0.0, 1.0] * 40, propensity=0.5)
    make_traffic(tools, rollout, "challenger", [1.0] * 80, propensity=0.5)
    (rollout,) = step_all(tools, project)
    assert rollout.state == "promoted"
    return release


class TestEveryServiceAsksAnew:
    def test_production_elsewhere_launches_nothing(
        self, tools: Tools, two_services: Project, champion: Release
    ) -> None:
        with pytest.raises(Refused, match="no verdict under the policy 'strict'"):
            begin_on(tools, two_services, "billing", champion)
        judge(tools, two_services, champion, service="billing")
        begin_on(tools, two_services, "billing", champion)
        assert champion_of(tools.records, "billing") == champion.digest

    def test_a_release_gated_again_and_failed_is_not_tried_again(
        self, tools: Tools, project: Project, champion: Release
    ) -> None:
        challenger = make_release(tools, project, "challenger")
        cancel_rollout(tools, begin(tools, project, challenger).id, "not today")
        assert stage(tools, challenger) == "staging"
        judge(tools, project, challenger, passed=False)
        with pytest.raises(Refused, match="did not pass"):
            begin(tools, project, challenger)
        decide(tools, challenger, "reject", "no")
        with pytest.raises(Refused, match="ada rejected it"):
            begin(tools, project, challenger)

    def test_a_rejection_on_the_way_keeps_it_from_production(
        self, tools: Tools, project: Project, champion: Release
    ) -> None:
        challenger = make_release(tools, project, "challenger")
        rollout = begin(tools, project, challenger)
        make_shadows(tools, rollout, [(number % 2 == 0, True) for number in range(60)])
        (rollout,) = step_all(tools, project)
        decide(tools, challenger, "reject", "it is rude")
        make_traffic(tools, rollout, "champion", [0.0, 1.0] * 40, propensity=0.5)
        make_traffic(tools, rollout, "challenger", [1.0] * 80, propensity=0.5)
        (rollout,) = step_all(tools, project)
        assert (rollout.state, rollout.events[-1].kind) == ("running", "held")
        assert "it is rude" in rollout.events[-1].reason

    def test_a_release_that_another_service_uses_is_not_put_away(
        self, tools: Tools, two_services: Project, champion: Release
    ) -> None:
        judge(tools, two_services, champion, service="billing")
        begin_on(tools, two_services, "billing", champion)
        promote(tools, two_services, "better")
        assert stage(tools, champion) == "production"
        step_all(tools, two_services)
        assert stage(tools, champion) == "production"

    def test_a_service_that_left_the_project_file_is_named(self, tools: Tools, project: Project) -> None:
        with pytest.raises(NotFound, match="no service 'gone'"):
            begin_on(tools, project, "gone", make_release(tools, project, "release"))

    def test_and_its_rollout_holds(self, tools: Tools, project: Project, champion: Release) -> None:
        rollout = begin(tools, project, make_release(tools, project, "challenger"))
        make_shadows(tools, rollout, [(number % 2 == 0, True) for number in range(60)])
        (rollout,) = step_all(tools, project)
        make_traffic(tools, rollout, "champion", [0.0, 1.0] * 40, propensity=0.5)
        make_traffic(tools, rollout, "challenger", [1.0] * 80, propensity=0.5)
        (rollout,) = step_all(tools, project.model_copy(update={"services": {}}))
        assert "no service 'support'" in rollout.events[-1].reason


class TestTheWayBack:
    def test_after_a_promotion(self, tools: Tools, project: Project, champion: Release) -> None:
        better = promote(tools, project, "better")
        back = roll_back(tools, "support", "it is wrong on invoices")
        assert (back.state, back.events[-1].by) == ("promoted", "ada")
        assert "it is wrong on invoices" in back.events[-1].reason
        assert champion_of(tools.records, "support") == champion.digest
        assert (stage(tools, champion), stage(tools, better)) == ("production", "archived")
        (service,) = services_now(tools, project)
        assert (service.champion.release, service.challenger) == (champion.digest, None)

    def test_it_goes_further_back_each_time(self, tools: Tools, project: Project, champion: Release) -> None:
        second = promote(tools, project, "second")
        promote(tools, project, "third")
        assert roll_back(tools, "support", "one").serving == second.digest
        assert roll_back(tools, "support", "two").serving == champion.digest
        with pytest.raises(Refused, match="no release served 'support' before"):
            roll_back(tools, "support", "three")
        fourth = promote(tools, project, "fourth")
        assert stage(tools, fourth) == "production"
        assert roll_back(tools, "support", "four").serving == champion.digest

    def test_not_while_a_rollout_runs(self, tools: Tools, project: Project, champion: Release) -> None:
        better = promote(tools, project, "better")
        begin(tools, project, make_release(tools, project, "next"))
        with pytest.raises(Conflict, match="is running"):
            roll_back(tools, "support", "now")
        assert (stage(tools, better), stage(tools, champion)) == ("production", "archived")

    def test_the_service_was_never_launched(self, tools: Tools, project: Project) -> None:
        with pytest.raises(Refused):
            roll_back(tools, "support", "why not")


class TestStagesFollow:
    """A kill between the rollout and the stages leaves nothing that the next look does not mend."""

    @pytest.fixture
    def killed(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
        with monkeypatch.context() as patch:
            patch.setattr("modelyard.workflows.rollouts.settle_stages", lambda tools, service: None)
            yield patch

    def test_after_a_launch(self, tools: Tools, project: Project, killed: pytest.MonkeyPatch) -> None:
        release = make_release(tools, project, "first")
        rollout = begin(tools, project, release)
        killed.undo()
        assert stage(tools, release) == "draft"
        for _ in range(2):
            settle_stages(tools, "support")
        moves = tools.records.releases.moves(release.digest)
        assert [(one.to_stage, one.actor) for one in moves] == [("staging", "ada"), ("production", "ada")]
        assert {one.verdict_id for one in moves} == {rollout.verdict_id} != {""}

    def test_after_a_way_back(
        self, tools: Tools, project: Project, champion: Release, killed: pytest.MonkeyPatch
    ) -> None:
        killed.undo()
        better = promote(tools, project, "better")
        killed.setattr("modelyard.workflows.rollouts.settle_stages", lambda tools, service: None)
        roll_back(tools, "support", "now")
        killed.undo()
        assert (stage(tools, champion), stage(tools, better)) == ("archived", "production")
        begin(tools, project, make_release(tools, project, "next"))
        assert (stage(tools, champion), stage(tools, better)) == ("production", "archived")

    def test_nothing_is_moved_for_a_rollout_that_cannot_begin(
        self, tools: Tools, project: Project, champion: Release
    ) -> None:
        begin(tools, project, make_release(tools, project, "one"))
        two = make_release(tools, project, "two")
        with pytest.raises(Conflict):
            begin(tools, project, two)
        assert stage(tools, two) == "draft"

    def test_a_promotion_that_was_cancelled_moves_nothing(
        self, tools: Tools, project: Project, champion: Release, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        challenger = make_release(tools, project, "challenger")
        rollout = begin(tools, project, challenger)
        make_shadows(tools, rollout, [(number % 2 == 0, True) for number in range(60)])
        (rollout,) = step_all(tools, project)
        make_traffic(tools, rollout, "champion", [0.0, 1.0] * 40, propensity=0.5)
        make_traffic(tools, rollout, "challenger", [1.0] * 80, propensity=0.5)
        replace = tools.records.rollouts.replace

        def late(after: Rollout, *, expected_events: int) -> None:
            monkeypatch.setattr(tools.records.rollouts, "replace", replace)
            cancel_rollout(tools, rollout.id, "stop")
            replace(after, expected_events=expected_events)

        monkeypatch.setattr(tools.records.rollouts, "replace", late)
        with pytest.raises(Conflict):
            step_all(tools, project)
        assert champion_of(tools.records, "support") == champion.digest
        assert (stage(tools, champion), stage(tools, challenger)) == ("production", "staging")

    def test_what_the_loop_did_is_signed_by_the_loop(self, tools: Tools, project: Project, champion: Release) -> None:
        better = promote(tools, project, "better")
        last = {one.digest: tools.records.releases.moves(one.digest)[-1] for one in (champion, better)}
        assert (last[better.digest].to_stage, last[better.digest].actor) == ("production", CONTROL)
        assert (last[champion.digest].to_stage, last[champion.digest].actor) == ("archived", CONTROL)
        assert last[better.digest].verdict_id


def test_a_release_with_traffic_is_not_archived(tools: Tools, project: Project, champion: Release) -> None:
    challenger = make_release(tools, project, "challenger")
    rollout = begin(tools, project, challenger)
    for release in (champion, challenger):
        with pytest.raises(Conflict, match="has traffic of support"):
            archive_release(tools, release, "tidy up")
    cancel_rollout(tools, rollout.id, "enough")
    assert archive_release(tools, challenger, "tidy up").to_stage == "archived"
    assert archive_release(tools, challenger, "again").reason == "tidy up"


def test_the_evidence_is_read_again_only_where_something_came_in(
    tools: Tools, project: Project, champion: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = begin(tools, project, make_release(tools, project, "challenger"))
    scored = tools.records.interactions.scored
    calls: list[str] = []

    def counted(service: str, **question: Any) -> Any:
        calls.append(service)
        return scored(service, **question)

    monkeypatch.setattr(tools.records.interactions, "scored", counted)
    looks = Looks()
    for _ in range(3):
        step_rollout(tools, project, rollout, looks)
        rollout = tools.records.rollouts.get(rollout.id)
    assert len(calls) == 1
    make_shadows(tools, rollout, [(number % 2 == 0, True) for number in range(60)])
    assert step_rollout(tools, project, rollout, looks).step == 1
    assert len(calls) == 2


@pytest.mark.parametrize("nothing", ["", "  \n"])
def test_what_is_kept_for_ever_must_say_something(
    tools: Tools, project: Project, champion: Release, nothing: str
) -> None:
    challenger = make_release(tools, project, "challenger")
    rollout = begin(tools, project, challenger)
    with pytest.raises(InvalidInput, match="the reason is empty"):
        cancel_rollout(tools, rollout.id, nothing)
    with pytest.raises(InvalidInput, match="the reason is empty"):
        decide(tools, challenger, "approve", nothing)
    with pytest.raises(InvalidInput, match="the tenant is empty"):
        create_key(tools.records, nothing)
    assert not list(tools.records.routes.keys())
    assert [one.id for one in tools.records.rollouts.running()] == [rollout.id]
