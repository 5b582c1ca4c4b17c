"""Gates: each demand on its own, and above all what happens where evidence is missing."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.digests import digest_text
from modelyard.ports.report import Metric, Report
from modelyard.ports.verdict import Verdict
from modelyard.registry.gates import judge
from modelyard.registry.policy import Policy
from tests.adapters.records.values import NOW_MS, a_release, a_report

RELEASE = a_release()
CHAMPION = a_release(adapter="older weights")
EXACT = Policy(name="careful", min={"exact_match": 0.85}, parity=False)
STEADY = Policy(name="steady", max_regression={"exact_match": 0.01}, parity=False)


def metric(value: float, *, low: float | None = None, high: float | None = None, rows: int = 500) -> Metric:
    return Metric(
        value=value,
        low=value - 0.02 if low is None else low,
        high=value + 0.02 if high is None else high,
        num_rows=rows,
    )


def report(value: float | None = 0.9, *, of: Any = RELEASE, **fields: Any) -> Report:
    metrics = {} if value is None else {"exact_match": metric(value)}
    return a_report(of.digest, **({"metrics": metrics} | fields))


def gate(policy: Policy, *reports: Report, champion: list[Report] | None = None, parity: bool | None = None) -> Verdict:
    return judge(policy, RELEASE, reports, champion, parity)


def only_failure(verdict: Verdict) -> str:
    (failed,) = [check for check in verdict.checks if not check.passed]
    assert not verdict.passed
    return f"{failed.name}: {failed.seen}; {failed.demanded}"


class TestLimits:
    @pytest.mark.parametrize(("value", "passes"), [(0.85, True), (0.9, True), (0.8499, False), (math.nan, False)])
    def test_a_floor(self, value: float, passes: bool) -> None:
        assert gate(EXACT, report(value)).passed is passes

    @pytest.mark.parametrize(("value", "passes"), [(500, True), (500.1, False), (math.nan, False)])
    def test_a_ceiling(self, value: float, passes: bool) -> None:
        policy = Policy(max={"latency_p95_ms": 500}, parity=False)
        assert gate(policy, report(metrics={"latency_p95_ms": metric(value)})).passed is passes

    def test_the_unfavourable_end_where_the_policy_says_so(self) -> None:
        cautious = Policy(min={"exact_match": 0.85}, max={"latency_p95_ms": 500}, use="low", parity=False)
        good = {"exact_match": metric(0.88, low=0.85, high=0.9), "latency_p95_ms": metric(400, low=300, high=500)}
        assert gate(cautious, report(metrics=good)).passed
        unsure = good | {"exact_match": metric(0.88, low=0.84, high=0.92)}
        assert "interval 0.84 to 0.92" in only_failure(gate(cautious, report(metrics=unsure)))
        slow = good | {"latency_p95_ms": metric(400, low=300, high=501)}
        assert "at most 500" in only_failure(gate(cautious, report(metrics=slow)))

    def test_every_suite_that_has_the_metric_must_reach_it(self) -> None:
        other = report(0.5, suite="general", suite_digest=digest_text("general"))
        assert only_failure(gate(EXACT, report(), other)) == "exact_match (general/test): 0.5; at least 0.85"

    def test_the_newest_report_of_a_suite_counts(self) -> None:
        older, newer = report(0.9), report(0.5, created_ms=NOW_MS + 1)
        assert not gate(EXACT, older, newer).passed
        assert not gate(EXACT, newer, older).passed
        verdict = gate(EXACT, report(0.5), report(0.9, created_ms=NOW_MS + 1))
        assert verdict.passed
        assert len(verdict.reports) == 1


class TestRows:
    def test_too_few_rows_fail(self) -> None:
        few = report(metrics={"exact_match": metric(1.0, rows=99)})
        assert only_failure(gate(EXACT, few)) == "rows (held-out/test): 99; at least 100"

    def test_the_thinnest_metric_counts(self) -> None:
        policy = Policy(min={"exact_match": 0.5}, max={"latency_p95_ms": 500}, parity=False)
        thin = report(metrics={"exact_match": metric(0.9, rows=500), "latency_p95_ms": metric(9, rows=3)})
        assert "rows (held-out/test): 3" in only_failure(gate(policy, thin))


class TestRegression:
    def test_against_the_champion_on_the_same_suite(self) -> None:
        champion = [report(0.9, of=CHAMPION)]
        assert gate(STEADY, report(0.89), champion=champion).passed
        seen = only_failure(gate(STEADY, report(0.88), champion=champion))
        assert (
            seen == "exact_match against the champion (held-out/test): 0.88; at least 0.89 (champion 0.9, 0.01 allowed)"
        )

    def test_times_may_grow_only_so_much(self) -> None:
        policy = Policy(max_regression={"latency_p95_ms": 50}, parity=False)
        champion = [report(of=CHAMPION, metrics={"latency_p95_ms": metric(300)})]
        assert gate(policy, report(metrics={"latency_p95_ms": metric(100)}), champion=champion).passed
        assert gate(policy, report(metrics={"latency_p95_ms": metric(350)}), champion=champion).passed
        assert not gate(policy, report(metrics={"latency_p95_ms": metric(351)}), champion=champion).passed

    @pytest.mark.parametrize("other", [{"suite_digest": digest_text("another suite")}, {"split": "validation"}])
    def test_another_exam_is_no_comparison(self, other: dict) -> None:
        verdict = gate(STEADY, report(0.99), champion=[report(0.5, of=CHAMPION, **other)])
        assert "missing: no exact_match of the champion on the same suite and split" in only_failure(verdict)

    def test_a_champion_never_evaluated_is_no_champion_beaten(self) -> None:
        assert not gate(STEADY, report(0.99), champion=[]).passed
        assert not gate(STEADY, report(0.99), champion=[report(None, of=CHAMPION)]).passed

    def test_the_first_release_has_nothing_to_fall_behind(self) -> None:
        assert gate(STEADY, report(0.1)).passed
        assert not gate(STEADY).passed
        assert not gate(STEADY, report(None)).passed


class TestMissingEvidence:
    @pytest.mark.parametrize(
        "reports",
        [(), (report(None),), (report(of=CHAMPION),), (report(metrics={"other": metric(1.0)}),)],
        ids=["no report", "no metric", "another release's report", "another metric"],
    )
    @pytest.mark.parametrize("policy", [EXACT, STEADY, Policy(max={"exact_match": 1.0}, parity=False)])
    def test_never_passes(self, policy: Policy, reports: tuple[Report, ...]) -> None:
        for champion in (None, [], [report(0.1, of=CHAMPION)]):
            assert not gate(policy, *reports, champion=champion).passed

    @pytest.mark.parametrize(("parity", "passes"), [(True, True), (False, False), (None, False)])
    def test_parity_must_have_been_checked(self, parity: bool | None, passes: bool) -> None:
        policy = Policy(min={"exact_match": 0.5})
        assert gate(policy, report(), parity=parity).passed is passes

    @given(
        have=st.sets(st.sampled_from(["exact_match", "f1", "latency_p95_ms"])),
        floors=st.sets(st.sampled_from(["exact_match", "f1"])),
        ceilings=st.sets(st.sampled_from(["latency_p95_ms"])),
        steady=st.sets(st.sampled_from(["exact_match", "f1"])),
        has_champion=st.booleans(),
    )
    def test_a_pass_means_that_everything_asked_was_seen(self, have, floors, ceilings, steady, has_champion) -> None:
        if not floors | ceilings | steady:
            return
        policy = Policy(
            min=dict.fromkeys(floors, 0.0),
            max=dict.fromkeys(ceilings, 1.0),
            max_regression=dict.fromkeys(steady, 1.0),
            parity=False,
        )
        mine = report(metrics={name: metric(0.5) for name in have})
        verdict = gate(policy, mine, champion=[report(of=CHAMPION, metrics=mine.metrics)] if has_champion else None)
        assert verdict.passed is (floors | ceilings | steady <= have)


def test_a_verdict_names_its_evidence() -> None:
    evidence = report()
    verdict = gate(EXACT, evidence)
    assert (verdict.release, verdict.policy, verdict.policy_digest) == (RELEASE.digest, "careful", EXACT.digest)
    assert verdict.reports == (evidence.id,)
