import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from modelyard.core.errors import DataInvalid
from modelyard.evaluation.metrics import exact_match, proportion, quantile, slice_by_expected, summarise
from modelyard.ports.report import RowResult


def row(expected, score=1.0, latency_ms=1.0, error=""):
    return RowResult(
        example_id="1", prompt="p", expected=expected, answer="a", score=score, latency_ms=latency_ms, error=error
    )


def test_exact_match_trims_and_folds_only_when_asked():
    assert exact_match("refund", " refund\n") == 1.0
    assert exact_match("refund", "Refund") == 0.0
    assert exact_match("refund", "Refund", fold_case=True) == 1.0
    assert exact_match("refund", "refund please") == 0.0


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_is_scipys(counts):
    successes, num_rows = counts
    seen = proportion(successes, num_rows)
    oracle = binomtest(successes, num_rows).proportion_ci(method="wilson")
    assert seen.low == pytest.approx(oracle.low, abs=1e-9)
    assert seen.high == pytest.approx(oracle.high, abs=1e-9)
    assert 0 <= seen.low <= seen.value <= seen.high <= 1


def test_nothing_measured_is_no_number():
    with pytest.raises(DataInvalid):
        proportion(0, 0)
    with pytest.raises(DataInvalid):
        quantile([], 0.5)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 0.99))
def test_quantile_is_a_value_within_its_interval(values, share):
    seen = quantile(values, share)
    assert seen.value in values
    assert seen.low <= seen.value <= seen.high


def test_quantile_interval_covers_as_promised():
    rng = random.Random(1)
    truth = 0.95
    covered = sum(
        seen.low <= truth <= seen.high
        for seen in (quantile([rng.random() for _ in range(300)], 0.95) for _ in range(600))
    )
    assert 0.93 <= covered / 600 <= 0.995


def test_failed_rows_count_in_the_score_and_not_in_the_latency():
    summary = summarise([row("a", latency_ms=5), row("a", score=0, latency_ms=900, error="down")], "exact_match")
    assert summary["exact_match"].value == 0.5
    assert summary["error_rate"].value == 0.5
    assert summary["latency_p95_ms"].value == 5
    assert "latency_p50_ms" not in summarise([row("a", error="down")], "exact_match")


def test_slices_are_labels_and_not_free_text():
    slices = slice_by_expected([row("b"), row("a"), row("a", score=0.0), row("b")])
    assert list(slices) == ["expected=a", "expected=b"]
    assert slices["expected=a"].value == 0.5
    assert slice_by_expected([row(f"text {i}") for i in range(10)]) == {}
