"""The one road to production, and every way around it that we could think of."""

from typing import Any

import pytest

from modelyard.adapters.records.store import SqlRecords
from modelyard.core.errors import Conflict, NotFound, Refused
from modelyard.ports.release import Release, Stage, StageMove
from modelyard.ports.verdict import Check, Verdict
from modelyard.registry.policy import Policy
from modelyard.registry.stages import ROADS, Goal, archive, check, check_return, follow, unmet_demands
from tests.adapters.records.values import (
    NOW_MS,
    a_launch,
    a_move,
    a_release,
    a_rollout,
    a_run,
    a_verdict,
    an_approval,
)

POLICY = Policy(name="careful", min={"exact_match": 0.85})
FOUR_EYES = Policy(name="four-eyes", min={"exact_match": 0.85}, approvals=1)
FAILED = (Check(name="exact_match", passed=False, seen="0.2", demanded="at least 0.85"),)


PLACES: dict[Stage, tuple[Stage, ...]] = {
    "draft": (),
    "staging": ("staging",),
    "production": ("staging", "production"),
    "archived": ("staging", "production", "archived"),
}
NEXT: dict[Stage, tuple[Stage, ...]] = {
    "draft": ("staging", "archived"),
    "staging": ("production", "archived"),
    "production": ("archived",),
    "archived": ("production",),
}


def add_release(records: SqlRecords, adapter: str = "weights", owner: str = "ada") -> Release:
    run = a_run(owner=owner)
    records.runs.put(run)
    release = a_release(adapter=adapter, run_id=run.id)
    records.releases.add(release)
    return release


def judge(records: SqlRecords, release: Release, policy: Policy = POLICY, **fields: Any) -> Verdict:
    values = {"policy": policy.name, "policy_digest": policy.digest} | fields
    if values.get("passed") is False:
        values.setdefault("checks", FAILED)
    verdict = a_verdict(release.digest, **values)
    records.verdicts.add(verdict)
    return verdict


def move(records: SqlRecords, release: Release, to: Goal, policy: Policy = POLICY, **fields: Any) -> StageMove:
    """Ask, then follow: what every rollout does."""
    signed = {"actor": "grace", "reason": "because", "service": "support"} | fields
    verdict_id = check(records, release, to, policy=policy, service=signed["service"])
    follow(records, release.digest, to, signed["actor"], signed["reason"], verdict_id=verdict_id)
    return records.releases.moves(release.digest)[-1]


def bring_back(records: SqlRecords, release: Release, service: str = "support") -> StageMove:
    verdict_id = check_return(records, release, service)
    follow(records, release.digest, "production", "grace", "rolled back to", verdict_id=verdict_id)
    return records.releases.moves(release.digest)[-1]


def place(records: SqlRecords, release: Release, *stages: Stage) -> None:
    """Put a release somewhere without asking."""
    for to in stages:
        records.releases.move(a_move(release, records.releases.stage(release.digest), to))


def assert_refused(records: SqlRecords, release: Release, to: Stage, policy: Policy = POLICY, *, because: str) -> None:
    stage, moves = records.releases.stage(release.digest), len(records.releases.moves(release.digest))
    with pytest.raises(Refused, match=because):
        move(records, release, to, policy)
    assert records.releases.stage(release.digest) == stage
    assert len(records.releases.moves(release.digest)) == moves
    assert unmet_demands(records, release, to, policy=policy, service="support")


class TestTheRoad:
    def test_a_first_release_walks_it(self, records: SqlRecords) -> None:
        release = add_release(records)
        verdict = judge(records, release)
        assert move(records, release, "staging").verdict_id == verdict.id
        last = move(records, release, "production")
        assert (last.from_stage, last.to_stage, last.verdict_id, last.actor) == (
            "staging",
            "production",
            verdict.id,
            "grace",
        )
        archive(records, release, "grace", "succeeded")
        assert records.releases.stage(release.digest) == "archived"
        assert [one.to_stage for one in records.releases.moves(release.digest)] == ["staging", "production", "archived"]

    @pytest.mark.parametrize("from_stage", list(ROADS))
    @pytest.mark.parametrize("to_stage", ["staging", "production", "archived"])
    def test_a_release_follows_its_traffic_step_by_step(
        self, records: SqlRecords, from_stage: Stage, to_stage: Stage
    ) -> None:
        release = add_release(records)
        place(records, release, *PLACES[from_stage])
        before = len(records.releases.moves(release.digest))
        for _ in range(2):
            follow(records, release.digest, to_stage, "grace", "because", verdict_id="v")
        moves = records.releases.moves(release.digest)
        assert all(one.to_stage in NEXT[one.from_stage] for one in moves)
        assert [one.verdict_id for one in moves[before:]] == ["v"] * (len(moves) - before)
        back = to_stage == "staging" and from_stage != "draft"
        assert records.releases.stage(release.digest) == (from_stage if back else to_stage)

    @pytest.mark.parametrize("from_stage", ["draft", "staging", "production"])
    @pytest.mark.parametrize("goal", ["staging", "production"])
    def test_the_stage_reached_excuses_nothing(self, records: SqlRecords, from_stage: Stage, goal: Goal) -> None:
        release = add_release(records)
        judge(records, release)
        place(records, release, *PLACES[from_stage])
        assert unmet_demands(records, release, goal, policy=POLICY, service="support") == []
        judge(records, release, passed=False, created_ms=NOW_MS + 1)
        assert_refused(records, release, goal, because="did not pass")
        assert_refused(records, release, goal, FOUR_EYES, because="no verdict")

    @pytest.mark.parametrize("goal", ["staging", "production"])
    def test_an_archived_release_gets_no_new_traffic(self, records: SqlRecords, goal: Goal) -> None:
        release = add_release(records)
        judge(records, release)
        place(records, release, "staging", "production", "archived")
        records.rollouts.add(a_launch(release=release.digest))
        assert_refused(records, release, goal, because="it is archived")

    def test_an_unknown_release_is_not_found(self, records: SqlRecords) -> None:
        with pytest.raises(NotFound):
            move(records, a_release(), "staging")

    @pytest.mark.parametrize("unsigned", [{"actor": " "}, {"reason": ""}])
    def test_every_move_is_signed(self, records: SqlRecords, unsigned: dict) -> None:
        release = add_release(records)
        judge(records, release)
        with pytest.raises(Refused, match="must be named"):
            archive(records, release, **({"actor": "grace", "reason": "old"} | unsigned))

    def test_a_race_is_lost_by_the_second(self, records: SqlRecords, monkeypatch: pytest.MonkeyPatch) -> None:
        release = add_release(records)
        judge(records, release)
        stage = records.releases.stage

        def late(digest: str) -> Stage:
            seen = stage(digest)
            monkeypatch.setattr(records.releases, "stage", stage)
            place(records, release, "archived")
            return seen

        monkeypatch.setattr(records.releases, "stage", late)
        with pytest.raises(Conflict):
            follow(records, release.digest, "staging", "grace", "because", verdict_id="")
        assert records.releases.stage(release.digest) == "archived"


class TestStaging:
    def test_without_a_verdict(self, records: SqlRecords) -> None:
        assert_refused(records, add_release(records), "staging", because="no verdict under the policy 'careful'")

    def test_with_a_failed_verdict(self, records: SqlRecords) -> None:
        release = add_release(records)
        judge(records, release, passed=False)
        assert_refused(records, release, "staging", because="did not pass: exact_match")

    def test_with_a_verdict_on_another_release(self, records: SqlRecords) -> None:
        release, other = add_release(records), add_release(records, "other weights")
        judge(records, other)
        assert_refused(records, release, "staging", because="no verdict")

    def test_a_changed_prompt_walks_the_road_anew(self, records: SqlRecords) -> None:
        release = add_release(records)
        judge(records, release)
        prompted = a_release(adapter="weights", run_id=release.run_id, system_prompt="Be brief.")
        records.releases.add(prompted)
        assert_refused(records, prompted, "staging", because="no verdict")

    def test_with_a_pass_under_a_softer_policy(self, records: SqlRecords) -> None:
        release = add_release(records)
        judge(records, release, Policy(name="careful", min={"exact_match": 0.1}))
        assert_refused(records, release, "staging", because="as it stands now")

    def test_with_an_older_pass_and_a_newer_failure(self, records: SqlRecords) -> None:
        release = add_release(records)
        judge(records, release)
        judge(records, release, passed=False, created_ms=NOW_MS + 1)
        assert_refused(records, release, "staging", because="did not pass")

    @pytest.mark.parametrize("checks", [FAILED, ()])
    def test_with_a_pass_that_its_checks_deny(self, records: SqlRecords, checks: tuple) -> None:
        release = add_release(records)
        judge(records, release, passed=True, checks=checks)
        assert_refused(records, release, "staging", because="did not pass")

    def test_an_override_opens_staging(self, records: SqlRecords) -> None:
        release = add_release(records)
        verdict = judge(records, release, passed=False)
        records.verdicts.approve(an_approval(verdict, decision="override", person="ada"))
        assert move(records, release, "staging").verdict_id == verdict.id

    def test_an_override_of_an_older_verdict_does_not(self, records: SqlRecords) -> None:
        release = add_release(records)
        verdict = judge(records, release, passed=False)
        records.verdicts.approve(an_approval(verdict, decision="override"))
        judge(records, release, passed=False, created_ms=NOW_MS + 1)
        assert_refused(records, release, "staging", because="did not pass")

    def test_an_approval_is_no_override(self, records: SqlRecords) -> None:
        release = add_release(records)
        records.verdicts.approve(an_approval(judge(records, release, passed=False)))
        assert_refused(records, release, "staging", because="did not pass")

    def test_an_override_taken_back_does_not_count(self, records: SqlRecords) -> None:
        release = add_release(records)
        verdict = judge(records, release, passed=False)
        records.verdicts.approve(an_approval(verdict, decision="override"))
        records.verdicts.approve(an_approval(verdict, decision="reject", person="Grace ", at_ms=NOW_MS + 1))
        assert_refused(records, release, "staging", because="did not pass.*Grace  rejected it")

    def test_where_approvals_are_asked_the_owner_cannot_override(self, records: SqlRecords) -> None:
        release = add_release(records)
        verdict = judge(records, release, FOUR_EYES, passed=False)
        records.verdicts.approve(an_approval(verdict, decision="override", person=" ADA"))
        assert_refused(records, release, "staging", FOUR_EYES, because="did not pass")
        records.verdicts.approve(an_approval(verdict, decision="override", person="grace"))
        assert move(records, release, "staging", FOUR_EYES).to_stage == "staging"

    @pytest.mark.parametrize("person", ["", "   "])
    def test_nobody_overrides_nothing(self, records: SqlRecords, person: str) -> None:
        release = add_release(records)
        records.verdicts.approve(an_approval(judge(records, release, passed=False), decision="override", person=person))
        assert_refused(records, release, "staging", because="did not pass")


class TestProduction:
    def staged(self, records: SqlRecords, **fields: Any) -> Release:
        release = add_release(records, **fields)
        place(records, release, "staging")
        return release

    def test_never_by_override(self, records: SqlRecords) -> None:
        release = add_release(records)
        verdict = judge(records, release, passed=False)
        for number, decision in enumerate(("override", "approve")):
            records.verdicts.approve(an_approval(verdict, decision=decision, person=f"person {number}"))
        move(records, release, "staging")
        assert_refused(records, release, "production", because="did not pass: exact_match")

    def test_not_without_a_verdict(self, records: SqlRecords) -> None:
        assert_refused(records, self.staged(records), "production", because="no verdict")

    def test_not_where_the_policy_became_stricter(self, records: SqlRecords) -> None:
        release = self.staged(records)
        judge(records, release)
        assert_refused(records, release, "production", FOUR_EYES, because="no verdict.*0 of 1 approvals")

    def test_every_unmet_demand_is_listed(self, records: SqlRecords) -> None:
        release = self.staged(records)
        verdict = judge(records, release, FOUR_EYES, passed=False)
        records.verdicts.approve(an_approval(verdict, decision="reject", person="lin", reason="too slow"))
        records.rollouts.add(a_launch(release="sha256:never"))
        demands = unmet_demands(records, release, "production", policy=FOUR_EYES, service="support")
        assert len(demands) == 4
        with pytest.raises(Refused) as refusal:
            move(records, release, "production", FOUR_EYES)
        assert all(demand in refusal.value.seen for demand in demands)

    @pytest.mark.parametrize("owner", ["ada", "Ada", " ADA "])
    def test_the_owner_cannot_approve(self, records: SqlRecords, owner: str) -> None:
        release = self.staged(records)
        verdict = judge(records, release, FOUR_EYES)
        records.verdicts.approve(an_approval(verdict, person=owner))
        assert_refused(records, release, "production", FOUR_EYES, because="0 of 1 approvals by people other than")
        allowing = FOUR_EYES.model_copy(update={"owner_may_approve": True})
        verdict = judge(records, release, allowing)
        records.verdicts.approve(an_approval(verdict, person=owner))
        assert move(records, release, "production", allowing).to_stage == "production"

    def test_one_person_is_not_two(self, records: SqlRecords) -> None:
        two = Policy(name="two", min={"exact_match": 0.85}, approvals=2)
        release = self.staged(records)
        verdict = judge(records, release, two)
        for person in ("grace", "Grace", "grace "):
            records.verdicts.approve(an_approval(verdict, person=person))
        assert_refused(records, release, "production", two, because="1 of 2 approvals")
        records.verdicts.approve(an_approval(verdict, person="lin"))
        assert move(records, release, "production", two).verdict_id == verdict.id

    def test_approvals_of_an_older_verdict_do_not_count(self, records: SqlRecords) -> None:
        release = self.staged(records)
        records.verdicts.approve(an_approval(judge(records, release, FOUR_EYES)))
        judge(records, release, FOUR_EYES, created_ms=NOW_MS + 1)
        assert_refused(records, release, "production", FOUR_EYES, because="0 of 1 approvals")

    def test_a_rejection_stands_until_the_same_person_takes_it_back(self, records: SqlRecords) -> None:
        release = self.staged(records)
        verdict = judge(records, release)
        records.verdicts.approve(an_approval(verdict, decision="reject", person="lin", reason="too slow"))
        records.verdicts.approve(an_approval(verdict, person="grace", at_ms=NOW_MS + 1))
        assert_refused(records, release, "production", because="lin rejected it: too slow")
        records.verdicts.approve(an_approval(verdict, person="lin", at_ms=NOW_MS + 2))
        assert move(records, release, "production").to_stage == "production"

    def test_where_the_owner_is_unknown_nobody_may_approve(self, records: SqlRecords) -> None:
        release = a_release(run_id="a run that was never recorded")
        records.releases.add(release)
        place(records, release, "staging")
        records.verdicts.approve(an_approval(judge(records, release, FOUR_EYES)))
        assert_refused(records, release, "production", FOUR_EYES, because="names no owner")

    def test_needs_something_to_roll_back_to(self, records: SqlRecords) -> None:
        release, champion = self.staged(records), add_release(records, "older weights")
        judge(records, release)
        records.rollouts.add(a_launch(release=champion.digest))
        assert_refused(records, release, "production", because="no release to roll back to")
        place(records, champion, "staging", "production", "archived")
        assert move(records, release, "production").to_stage == "production"

    def test_it_is_no_rollback_target_of_its_own(self, records: SqlRecords) -> None:
        release, never = self.staged(records), add_release(records, "never in production")
        judge(records, release)
        records.rollouts.add(a_launch(release=never.digest))
        records.rollouts.add(a_rollout(state="promoted", champion=never.digest, challenger=release.digest))
        assert_refused(records, release, "production", because="no release to roll back to")

    def test_other_services_do_not_matter(self, records: SqlRecords) -> None:
        release = self.staged(records)
        judge(records, release)
        records.rollouts.add(a_launch("another service", release="sha256:x"))
        assert move(records, release, "production").to_stage == "production"


class TestReturn:
    def test_only_what_was_in_production_comes_back(self, records: SqlRecords) -> None:
        release = add_release(records)
        judge(records, release)
        place(records, release, "staging", "archived")
        records.rollouts.add(a_launch(release="sha256:c"))
        records.rollouts.add(a_rollout(state="rolled_back", champion="sha256:c", challenger=release.digest))
        with pytest.raises(Refused, match=r"never in production.*never served 'support'"):
            bring_back(records, release)
        assert records.releases.stage(release.digest) == "archived"

    def test_a_champion_comes_back_without_new_evidence(self, records: SqlRecords) -> None:
        """A rollback must not wait for a gate; what it rests on is the verdict that led there first."""
        release = add_release(records)
        verdict = judge(records, release)
        move(records, release, "staging")
        move(records, release, "production")
        archive(records, release, "grace", "succeeded")
        records.rollouts.add(a_launch(release=release.digest))
        judge(records, release, passed=False, created_ms=NOW_MS + 1)
        back = bring_back(records, release)
        assert (back.from_stage, back.verdict_id) == ("archived", verdict.id)

    def test_not_for_a_service_it_never_served(self, records: SqlRecords) -> None:
        release = add_release(records)
        place(records, release, "staging", "production", "archived")
        records.rollouts.add(a_launch("another", release=release.digest))
        with pytest.raises(Refused, match="never served 'support'"):
            bring_back(records, release)
