"""The bounds hold under constant peeking, and are as narrow as those of an independent package."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from modelyard.rollout.confidence import BettingSequence, difference_bounds, paired_bounds, share_low

ALPHA = 0.05
scores = st.lists(st.floats(0, 1), max_size=60)


def most_misses(runs: int, alpha: float) -> int:
    """The number of misses that a sequence which keeps its alpha exceeds in one of 10,000 test runs."""
    return int(stats.binom.ppf(1 - 1e-4, runs, alpha))


def draw_bernoulli(rng: np.random.Generator, mean: float, size: int) -> np.ndarray:
    return (rng.random(size) < mean).astype(float)


def draw_beta(rng: np.random.Generator, mean: float, size: int) -> np.ndarray:
    return rng.beta(2 * mean, 2 * (1 - mean), size)


def count_misses(rng: np.random.Generator, draw, mean: float, *, runs: int, length: int) -> int:
    """Runs in which the sequence, looked at after every score, ever excludes the true mean."""
    misses = 0
    for _ in range(runs):
        sequence = BettingSequence(ALPHA, cells=10)
        for score in draw(rng, mean, length):
            sequence.absorb(score)
        misses += sequence.low > mean or sequence.high < mean
    return misses


def test_watching_after_every_score_keeps_the_promised_error() -> None:
    rng = np.random.default_rng(1)
    assert count_misses(rng, draw_bernoulli, 0.9, runs=100, length=100) <= most_misses(100, ALPHA)


@pytest.mark.slow
@pytest.mark.parametrize("draw", [draw_bernoulli, draw_beta])
@pytest.mark.parametrize("mean", [0.5, 0.9])
def test_watching_long_keeps_the_promised_error(draw, mean: float) -> None:
    rng = np.random.default_rng(2)
    assert count_misses(rng, draw, mean, runs=80, length=200) <= most_misses(80, ALPHA)


def test_a_fixed_sample_test_watched_thirty_times_does_not() -> None:
    rng = np.random.default_rng(3)
    runs, looks, batch = 1000, 30, 50
    values = rng.random((runs, looks * batch)) < 0.5
    counts = np.arange(1, looks + 1) * batch
    means = values.cumsum(axis=1)[:, counts - 1] / counts
    errors = np.sqrt(means * (1 - means) / counts)
    ever = (np.abs(means - 0.5) > 1.96 * errors).any(axis=1)
    assert ever.sum() > most_misses(runs, ALPHA)
    assert ever.mean() > 0.2


def test_watched_differences_keep_the_promised_error() -> None:
    rng = np.random.default_rng(4)
    runs, misses = 100, 0
    for _ in range(runs):
        before, after = BettingSequence(ALPHA, cells=50), BettingSequence(ALPHA, cells=50)
        missed = False
        for _ in range(25):
            before.extend(draw_bernoulli(rng, 0.9, 3))
            after.extend(draw_bernoulli(rng, 0.8, 1))
            bounds = difference_bounds(before, after)
            missed |= not bounds.low <= -0.1 + 1e-9 or not bounds.high >= -0.1 - 1e-9
        misses += missed
    assert misses <= most_misses(runs, ALPHA)


def test_watched_shares_keep_the_promised_error() -> None:
    rng = np.random.default_rng(5)
    runs, misses = 100, 0
    for _ in range(runs):
        hits = (rng.random(120) < 0.05).cumsum()
        misses += any(share_low(int(hits[n]), n + 1, ALPHA) > 0.05 for n in np.flatnonzero(np.diff(hits, prepend=0)))
    assert misses <= most_misses(runs, ALPHA)


@given(scores, st.randoms())
@settings(max_examples=50, deadline=None)
def test_order_changes_nothing(values: list[float], random) -> None:
    """Late feedback moves scores about; the bounds must not depend on it."""
    straight, shuffled = BettingSequence(ALPHA, cells=50), BettingSequence(ALPHA, cells=50)
    straight.extend(values)
    random.shuffle(values)
    shuffled.extend(values)
    assert (straight.low, straight.high) == (shuffled.low, shuffled.high)


@given(scores)
@settings(max_examples=50, deadline=None)
def test_bounds_hold_the_mean_and_only_narrow(values: list[float]) -> None:
    sequence = BettingSequence(ALPHA, cells=50)
    low, high = 0.0, 1.0
    for value in values:
        sequence.absorb(value)
        assert low <= sequence.low <= sequence.high <= high or sequence.low > sequence.high
        low, high = sequence.low, sequence.high
    assert sequence.n == len(values)
    assert math.isclose(sequence.mean, sum(values) / len(values) if values else 0.5, abs_tol=1e-9)


@given(scores, scores)
@settings(max_examples=50, deadline=None)
def test_differences_are_antisymmetric(first: list[float], second: list[float]) -> None:
    before, after = BettingSequence(ALPHA, cells=50), BettingSequence(ALPHA, cells=50)
    before.extend(first)
    after.extend(second)
    forth, back = difference_bounds(before, after), difference_bounds(after, before)
    assert (forth.low, forth.high) == (-back.high, -back.low)
    assert forth.low >= -1.0
    assert forth.high <= 1.0


@given(st.integers(0, 4), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_every_bet_is_fair(steps_down: int, steps_up: int) -> None:
    """Under the truth nobody gains: over all sequences of two scores around m, the mean capital at m is exactly 1."""
    low, mean, high = 0.5 - 0.1 * steps_down, 0.5, 0.5 + 0.1 * steps_up
    odds = {low: (high - mean) / (high - low), high: (mean - low) / (high - low)}
    above = below = 0.0
    for first, second in itertools.product(odds, repeat=2):
        sequence = BettingSequence(ALPHA, cells=10)
        sequence.extend([first, second])
        log_above, log_below = sequence.log_capitals()
        above += odds[first] * odds[second] * math.exp(log_above[5])
        below += odds[first] * odds[second] * math.exp(log_below[5])
    assert math.isclose(above, 1.0, rel_tol=1e-9)
    assert math.isclose(below, 1.0, rel_tol=1e-9)


@given(st.lists(st.sampled_from([0.0, 0.3, 1.0]), max_size=80), st.lists(st.sampled_from([0.0, 1.0]), max_size=80))
@settings(max_examples=40, deadline=None)
def test_differences_are_those_of_the_region(first: list[float], second: list[float]) -> None:
    """Against every pair of means on a ten times finer grid: nothing that is left lies outside, and little is added."""
    coarse = [BettingSequence(ALPHA, cells=20), BettingSequence(ALPHA, cells=20)]
    fine = [BettingSequence(ALPHA, cells=200), BettingSequence(ALPHA, cells=200)]
    for arms in (coarse, fine):
        arms[0].extend(first)
        arms[1].extend(second)
    hedged = [np.logaddexp(*sequence.log_capitals()) - math.log(2) for sequence in fine]
    means = np.linspace(0, 1, 201)
    left = (means - means[:, None])[hedged[0][:, None] + hedged[1] < math.log(1 / ALPHA)]
    bounds = difference_bounds(*coarse)
    assert left.min() - 0.15 <= bounds.low <= left.min() + 1e-9
    assert left.max() - 1e-9 <= bounds.high <= left.max() + 0.15


@pytest.mark.parametrize(("hits", "total"), [(2, 2), (5, 20), (10, 100), (80, 1000), (30, 31)])
def test_shares_are_where_the_mixture_reaches_its_threshold(hits: int, total: int) -> None:
    """Against the mixture integrated numerically."""

    def evidence(share: float) -> float:
        def growth(other: float) -> float:
            return math.exp(hits * math.log(other / share) + (total - hits) * math.log((1 - other) / (1 - share)))

        peak = [hits / total] if share < hits / total < 1 else None
        return integrate.quad(growth, share, 1 - 1e-12, points=peak, limit=200)[0] / (1 - share)

    low = share_low(hits, total, ALPHA)
    assert evidence(low) >= 1 / ALPHA > evidence(low + 0.001)


def test_nothing_seen_says_nothing() -> None:
    sequence = BettingSequence(ALPHA)
    assert (sequence.low, sequence.high, sequence.n, sequence.mean) == (0.0, 1.0, 0, 0.5)
    assert difference_bounds(sequence, sequence).low == -1.0
    assert difference_bounds(sequence, sequence).high == 1.0
    assert paired_bounds((), (), ALPHA).low == -1.0
    assert share_low(0, 0, ALPHA) == 0.0


def test_certain_scores_reach_the_edges() -> None:
    ones, zeros = BettingSequence(ALPHA), BettingSequence(ALPHA)
    ones.extend([1.0] * 2000)
    zeros.extend([0.0] * 2000)
    assert ones.low > 0.99
    assert ones.high == 1.0
    assert zeros.high < 0.01
    assert zeros.low == 0.0
    assert difference_bounds(ones, zeros).high < -0.98
    assert share_low(100, 100, ALPHA) > 0.9


def test_the_joint_difference_beats_the_box() -> None:
    rng = np.random.default_rng(6)
    before, after = draw_bernoulli(rng, 0.9, 400), draw_bernoulli(rng, 0.9, 400)
    joint = [BettingSequence(ALPHA), BettingSequence(ALPHA)]
    box = [BettingSequence(ALPHA / 2), BettingSequence(ALPHA / 2)]
    for sequences in (joint, box):
        sequences[0].extend(before)
        sequences[1].extend(after)
    bounds = difference_bounds(*joint)
    assert bounds.high - bounds.low < 0.85 * (box[1].high - box[0].low - box[1].low + box[0].high)


def test_pairs_see_through_what_arms_cannot() -> None:
    """Hard and easy requests make both sides vary together; pairing takes that out."""
    rng = np.random.default_rng(7)
    before = draw_bernoulli(rng, 0.5, 300)
    after = np.where(rng.random(300) < 0.02, 1 - before, before)
    paired = paired_bounds(before.tolist(), after.tolist(), ALPHA)
    arms = [BettingSequence(ALPHA), BettingSequence(ALPHA)]
    arms[0].extend(before)
    arms[1].extend(after)
    unpaired = difference_bounds(*arms)
    assert paired.high - paired.low < 0.5 * (unpaired.high - unpaired.low)


@pytest.mark.parametrize("bad", [-0.01, 1.01, math.nan])
def test_scores_outside_the_unit_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="scores must lie in"):
        BettingSequence(ALPHA).absorb(bad)


def test_alphas_must_make_sense() -> None:
    with pytest.raises(ValueError, match="alpha"):
        BettingSequence(0.0)
    with pytest.raises(ValueError, match="same alpha"):
        difference_bounds(BettingSequence(0.05), BettingSequence(0.01))
    with pytest.raises(ValueError, match="shorter"):
        paired_bounds([1.0], [], ALPHA)


@pytest.mark.parametrize("mean", [0.5, 0.9])
@pytest.mark.parametrize("draw", [draw_bernoulli, draw_beta])
def test_as_narrow_as_an_independent_package(draw, mean: float) -> None:
    """`ville` bets by the paper's predictable plug-in: another strategy, the same promise, about the same width."""
    means = pytest.importorskip("ville.means", reason="pip install ville: the oracle for confidence sequences")
    rng = np.random.default_rng(8)
    for size, slack in ((50, 1.3), (500, 1.3), (3000, 1.3)):
        values = draw(rng, mean, size)
        ours = BettingSequence(ALPHA)
        ours.extend(values)
        low, high = means.BettingCS(alpha=ALPHA, grid=501).fit(values).interval()
        assert ours.low <= mean <= ours.high
        assert max(ours.low, low) < min(ours.high, high)
        assert ours.high - ours.low < slack * (high - low)


def test_close_to_the_exact_mixture_for_yes_and_no() -> None:
    proportions = pytest.importorskip("ville.proportions", reason="pip install ville: the oracle")
    rng = np.random.default_rng(9)
    for size in (50, 500, 3000):
        values = draw_bernoulli(rng, 0.9, size)
        ours = BettingSequence(ALPHA)
        ours.extend(values)
        low, high = proportions.BernoulliCS(alpha=ALPHA).fit(values).interval()
        assert ours.high - ours.low < 1.2 * (high - low) + 0.004
