"""The step machine: the rules one by one, then whole rollouts in simulation, with the error rates promised."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from modelyard.core.errors import Conflict, InvalidInput
from modelyard.rollout.evidence import Arm
from modelyard.rollout.machine import CONTROL, Decision, advance, bring_back, cancel, decide, launch, start
from tests.rollout.rollouts import (
    CANARY,
    CHALLENGER,
    CHAMPION,
    HALF,
    HOUR_MS,
    SHADOW,
    make_arm,
    make_plan,
    make_rollout,
    make_shadow_arm,
    walk,
)

scores = st.lists(st.sampled_from([0.0, 0.5, 1.0]), max_size=400).map(tuple)
GOOD = (1.0,) * 400


class TestRules:
    def test_a_proven_last_step_promotes(self) -> None:
        decision = decide(make_rollout(), make_arm(*GOOD), make_arm(*GOOD), now_ms=1)
        assert decision.kind == "promote"
        assert decision.evidence["canary_low"] > -0.1
        assert decision.evidence["challenger_mean"] == 1.0

    def test_a_proven_earlier_step_advances(self) -> None:
        assert decide(make_rollout(CANARY, HALF), make_arm(*GOOD), make_arm(*GOOD), now_ms=1).kind == "advance"
        shadow = make_shadow_arm(*GOOD)
        assert decide(make_rollout(SHADOW, CANARY), shadow, shadow, now_ms=1).kind == "advance"

    def test_proven_quality_without_enough_answers_in_this_step_holds(self) -> None:
        carried = Arm(scores=GOOD, scored=CANARY.min_samples - 1, answered=19)
        decision = decide(make_rollout(), make_arm(*GOOD), carried, now_ms=1)
        assert (decision.kind, decision.reason) == ("hold", "fewer than 20 scored answers of each side in this step")

    def test_enough_answers_without_proof_hold(self) -> None:
        few = make_arm(*GOOD[:20])
        decision = decide(make_rollout(), few, few, now_ms=1)
        assert decision.kind == "hold"
        assert "not yet sure" in decision.reason

    def test_shadow_evidence_does_not_promote_a_canary_step(self) -> None:
        both = Arm(shadow_scores=GOOD, scored=400, answered=400)
        assert decide(make_rollout(SHADOW, CANARY), both, both, now_ms=1).kind == "advance"
        at_canary = advance(make_rollout(SHADOW, CANARY), Decision(kind="advance", reason=""), now_ms=1)
        assert decide(at_canary, both, both, now_ms=1).kind == "hold"

    def test_surely_worse_rolls_back_before_min_samples(self) -> None:
        decision = decide(make_rollout(), make_arm(*GOOD[:15]), make_arm(*(0.0,) * 15), now_ms=1)
        assert decision.kind == "roll_back"
        assert "worse than the champion by at least" in decision.reason

    def test_surely_worse_but_within_the_margin_is_accepted(self) -> None:
        before, after = GOOD * 5, (*GOOD * 5, *(0.0,) * 80)
        decision = decide(make_rollout(), make_arm(*before), make_arm(*after), now_ms=1)
        assert decision.evidence["canary_high"] < 0
        assert decision.kind == "promote"

    def test_surely_worse_in_shadow_rolls_back_at_any_step(self) -> None:
        before, after = make_shadow_arm(*GOOD[:40]), make_shadow_arm(*(0.0,) * 40)
        assert decide(make_rollout(SHADOW, CANARY), before, after, now_ms=1).kind == "roll_back"

    def test_failures_roll_back_without_any_score(self) -> None:
        decision = decide(make_rollout(), Arm(), Arm(answered=6, failed=6), now_ms=1)
        assert decision.kind == "roll_back"
        assert "fail" in decision.reason

    def test_failures_above_the_allowed_share_hold_a_promotion(self) -> None:
        decision = decide(make_rollout(), make_arm(*GOOD), make_arm(*GOOD, failed=22), now_ms=1)
        assert (decision.kind, decision.reason) == ("hold", "more answers fail than allowed, though not yet surely")

    def test_failures_of_the_champion_do_not_roll_back(self) -> None:
        assert decide(make_rollout(), Arm(answered=50, failed=50), make_arm(*GOOD[:10]), now_ms=1).kind == "hold"

    def test_undecided_for_too_long_rolls_back(self) -> None:
        few = make_arm(*GOOD[:20])
        assert decide(make_rollout(max_hours=2), few, few, now_ms=2 * HOUR_MS - 1).kind == "hold"
        late = decide(make_rollout(max_hours=2), few, few, now_ms=2 * HOUR_MS)
        assert late.kind == "roll_back"
        assert late.reason.startswith("undecided after 2 hours: not yet sure")

    def test_time_is_not_against_a_decided_rollout(self) -> None:
        late = 30 * HOUR_MS
        assert decide(make_rollout(), make_arm(*GOOD), make_arm(*GOOD), now_ms=late).kind == "promote"
        assert decide(make_rollout(CANARY, HALF), make_arm(*GOOD), make_arm(*GOOD), now_ms=late).kind == "roll_back"

    def test_a_rollout_that_is_over_decides_nothing(self) -> None:
        over = cancel(make_rollout(), "by hand", now_ms=5)
        for act in (
            lambda: decide(over, Arm(), Arm(), now_ms=6),
            lambda: advance(over, Decision(kind="promote", reason=""), now_ms=6),
            lambda: cancel(over, "again", now_ms=6),
        ):
            with pytest.raises(Conflict, match="is cancelled"):
                act()


class TestMissingData:
    @given(scores, st.integers(0, 50), st.booleans(), st.integers(0, 48))
    @settings(max_examples=60, deadline=None)
    def test_one_silent_side_never_promotes(self, seen, failed: int, champion_silent: bool, hours: int) -> None:
        seen_arm, silent = make_arm(*seen, failed=failed), Arm(answered=failed, failed=0)
        arms = (silent, seen_arm) if champion_silent else (seen_arm, silent)
        for rollout in (make_rollout(), make_rollout(SHADOW), make_rollout(CANARY, HALF)):
            assert decide(rollout, *arms, now_ms=hours * HOUR_MS).kind in ("hold", "roll_back")

    @given(scores, scores)
    @settings(max_examples=60, deadline=None)
    def test_too_few_answers_never_promote(self, before, after) -> None:
        champion = Arm(scores=before, scored=min(len(before), 19), answered=len(before))
        challenger = Arm(scores=after, scored=min(len(after), 19), answered=len(after))
        assert decide(make_rollout(), champion, challenger, now_ms=1).kind in ("hold", "roll_back")

    def test_no_traffic_holds_then_rolls_back(self) -> None:
        assert decide(make_rollout(), Arm(), Arm(), now_ms=1).kind == "hold"
        assert decide(make_rollout(), Arm(), Arm(), now_ms=24 * HOUR_MS).kind == "roll_back"


class TestAdvance:
    def test_each_decision_leaves_its_event(self) -> None:
        first = make_rollout(CANARY, HALF)
        second = advance(first, Decision(kind="advance", reason="proven", evidence={"x": 1.0}), now_ms=7)
        assert (second.step, second.step_started_ms, second.state) == (1, 7, "running")
        assert [(event.kind, event.step) for event in second.events] == [("started", 0), ("advanced", 0)]
        assert second.events[-1].evidence == {"x": 1.0}
        third = advance(second, Decision(kind="promote", reason="proven"), now_ms=9)
        assert (third.state, third.finished_ms, third.step) == ("promoted", 9, 1)
        assert advance(second, Decision(kind="roll_back", reason="worse"), now_ms=9).state == "rolled_back"
        assert [event.kind for event in first.events] == ["started"]

    def test_the_same_hold_is_kept_once(self) -> None:
        rollout = make_rollout()
        held = advance(rollout, Decision(kind="hold", reason="no data", evidence={"n": 1.0}), now_ms=1)
        assert [event.kind for event in held.events] == ["started", "held"]
        assert advance(held, Decision(kind="hold", reason="no data", evidence={"n": 2.0}), now_ms=2) is held
        assert len(advance(held, Decision(kind="hold", reason="other"), now_ms=2).events) == 3

    def test_there_is_no_step_after_the_last(self) -> None:
        with pytest.raises(Conflict, match="last step"):
            advance(make_rollout(), Decision(kind="advance", reason=""), now_ms=1)

    def test_a_rollout_starts_with_its_own_salt(self) -> None:
        one, two = make_rollout(), make_rollout()
        assert one.salt != two.salt
        assert (one.state, one.step, one.events[0].kind) == ("running", 0, "started")

    def test_a_first_release_is_launched_at_once(self) -> None:
        launched = launch("support", CHALLENGER, now_ms=3, by="ada", verdict_id="v")
        assert (launched.champion, launched.challenger, launched.state) == ("", CHALLENGER, "promoted")
        assert (launched.finished_ms, [event.kind for event in launched.events]) == (3, ["started", "promoted"])
        assert ([event.by for event in launched.events], launched.verdict_id) == (["ada", "ada"], "v")
        assert launched.serving == CHALLENGER

    def test_a_former_champion_is_back_at_once(self) -> None:
        back = bring_back("support", CHALLENGER, CHAMPION, "it is wrong on invoices", 3, by="ada", verdict_id="v")
        assert (back.champion, back.challenger, back.state, back.serving) == (
            CHALLENGER,
            CHAMPION,
            "promoted",
            CHAMPION,
        )
        assert back.events[-1].reason == "brought back: it is wrong on invoices"

    def test_what_no_person_did_is_signed_so(self) -> None:
        rollout = advance(make_rollout(), Decision(kind="roll_back", reason="worse"), now_ms=1)
        assert rollout.events[-1].by == CONTROL
        assert cancel(make_rollout(), "enough", 1, by="ada").events[-1].by == "ada"

    def test_a_rollout_needs_two_releases_and_a_step(self) -> None:
        with pytest.raises(InvalidInput, match="is the champion of 'support' already"):
            start("support", CHAMPION, CHAMPION, make_plan(), now_ms=0)
        with pytest.raises(InvalidInput, match="no steps"):
            start("support", CHAMPION, CHALLENGER, make_plan().__class__(steps=()), now_ms=0)


def simulate(champion: float, challenger: float, *, runs: int, batch: int, looks: int, seed: int, **plan: object):
    """How many of the runs ended how, and the scored answers each took."""
    rng = np.random.default_rng(seed)
    states: list[str] = []
    answers: list[int] = []
    for _ in range(runs):
        rollout, used = walk(
            make_rollout(CANARY, HALF, **plan),
            lambda mean: float(rng.random() < mean),
            champion,
            challenger,
            rng,
            batch=batch,
            looks=looks,
        )
        states.append(rollout.state)
        answers.append(used)
    return states, answers


def most(runs: int, alpha: float) -> int:
    return int(stats.binom.ppf(1 - 1e-4, runs, alpha))


class TestWholeRollouts:
    def test_a_clearly_bad_release_is_gone_within_a_few_dozen_answers(self) -> None:
        states, answers = simulate(0.95, 0.1, runs=25, batch=1, looks=200, seed=1)
        assert set(states) == {"rolled_back"}
        assert np.mean(answers) < 40

    def test_a_better_release_is_promoted(self) -> None:
        states, answers = simulate(0.85, 0.95, runs=10, batch=20, looks=100, seed=2, margin=0.05)
        assert set(states) == {"promoted"}
        assert np.mean(answers) < 1200

    def test_equal_releases_are_rarely_rolled_back(self) -> None:
        states, _ = simulate(0.9, 0.9, runs=40, batch=30, looks=16, seed=3, margin=0.0)
        assert states.count("rolled_back") <= most(40, 0.05)

    def test_worse_releases_are_rarely_promoted(self) -> None:
        states, _ = simulate(0.95, 0.85, runs=40, batch=30, looks=16, seed=4, margin=0.1)
        assert states.count("promoted") <= most(40, 0.05)

    @pytest.mark.slow
    @pytest.mark.parametrize("alpha", [0.05, 0.3])
    def test_the_promised_errors_hold_at_length(self, alpha: float) -> None:
        """At the very edge: releases just as good as not to be rolled back, and just bad enough not to be promoted."""
        equal, _ = simulate(0.8, 0.8, runs=80, batch=25, looks=24, seed=5, margin=0.0, alpha=alpha)
        assert equal.count("rolled_back") <= most(80, alpha)
        edge, _ = simulate(0.8, 0.7, runs=80, batch=25, looks=24, seed=6, margin=0.1, alpha=alpha)
        assert edge.count("promoted") <= most(80, alpha)
