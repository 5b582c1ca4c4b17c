"""Circuits, retry budgets and first-token times, on a clock of the test's own."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.gateway.routing.engines import Load
from modelyard.gateway.routing.health import CLOSED, OPEN, PAUSED, TRYING, Circuit, Latencies, RetryBudget
from modelyard.gateway.routing.replicas import Replica, Replicas
from modelyard.ports.serving import Breaker, Retries

BREAKER = Breaker()


def group(count: int, breaker: Breaker = BREAKER) -> Replicas:
    urls = [f"http://r{index}:8000" for index in range(count)]
    return Replicas([Replica(url, Load(url), Circuit()) for url in urls], breaker, Latencies())


def answer(replicas: Replicas, status: int, now_s: float, **more: float) -> Replica:
    replica = replicas.pick(0, now_s)
    assert replica is not None
    replicas.finish(replica, status, started_s=now_s, now_s=now_s, **more)
    return replica


@given(st.lists(st.sampled_from([400, 401, 403, 404, 409, 413, 415, 422, 499]), max_size=300))
def test_a_caller_who_sends_only_bad_requests_opens_nothing(statuses):
    replicas = group(1)
    for index, status in enumerate(statuses):
        assert answer(replicas, status, index * 0.01).circuit.state == CLOSED


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_failures_in_a_row_open_and_one_trial_closes(status):
    replicas = group(1)
    circuit = replicas.all[0].circuit
    for _ in range(5):
        answer(replicas, status, 1.0)
    assert circuit.state == OPEN
    assert replicas.pick(0, 5.9) is None
    assert replicas.retry_after_s(5.9) == pytest.approx(0.1)
    trial = replicas.pick(0, 6.0)
    assert trial is not None
    assert circuit.state == TRYING
    assert replicas.pick(0, 6.0) is None  # one alone tries
    replicas.finish(trial, 200, started_s=6.0, now_s=6.5)
    assert circuit.state == CLOSED
    assert replicas.all[0].load.in_flight == 0


def test_a_success_in_between_keeps_it_closed():
    replicas = group(1, Breaker(failures=3, min_requests=1000))
    for index in range(60):
        answer(replicas, 200 if index % 3 == 2 else 500, index * 0.1)
    assert replicas.all[0].circuit.state == CLOSED


def test_the_open_time_doubles_up_to_a_minute_and_starts_over_after_a_good_while():
    replicas = group(1, Breaker(failures=1, open_s=5.0))
    circuit = replicas.all[0].circuit
    seen, now_s = [], 0.0
    for _ in range(6):
        answer(replicas, 500, now_s)
        seen.append(circuit.open_s)
        now_s = circuit.blocked_until_s
    assert seen == [5, 10, 20, 40, 60, 60]
    answer(replicas, 200, now_s)
    answer(replicas, 500, now_s + 121)
    assert circuit.open_s == 5


def test_a_replica_that_came_back_is_not_held_to_its_old_errors():
    replicas = group(1, Breaker(failures=0, min_requests=5, error_share=0.4, open_s=0.5, max_ejected_share=1.0))
    circuit = replicas.all[0].circuit
    for _ in range(5):
        answer(replicas, 500, 10.0)
    assert circuit.state == OPEN
    answer(replicas, 200, 10.6)
    answer(replicas, 500, 10.7)
    assert circuit.state == CLOSED


def test_a_trial_that_begins_to_answer_closes_at_its_first_byte():
    replicas = group(1, Breaker(failures=1))
    answer(replicas, 500, 0.0)
    trial = replicas.pick(0, 5.0)
    assert trial is not None
    replicas.answering(trial, started_s=5.0, now_s=5.2)
    assert trial.circuit.state == CLOSED


def test_a_caller_who_leaves_a_trial_lets_the_next_one_try():
    replicas = group(1, Breaker(failures=1))
    answer(replicas, 500, 0.0)
    assert answer(replicas, 499, 5.0).circuit.state == TRYING
    assert answer(replicas, 200, 5.0).circuit.state == CLOSED


def test_answers_from_before_it_opened_say_nothing_of_the_trial():
    replicas = group(1, Breaker(failures=1))
    replica = replicas.all[0]
    old = replicas.pick(0, 0.0)
    answer(replicas, 500, 1.0)
    trial = replicas.pick(0, 6.0)
    assert old is trial is replica
    replicas.finish(replica, 500, started_s=0.0, now_s=6.1)
    assert replica.circuit.state == TRYING
    replicas.finish(replica, 200, started_s=6.0, now_s=6.2)
    assert replica.circuit.state == CLOSED


@pytest.mark.parametrize("status", [408, 429])
def test_too_many_requests_pause_and_are_no_failure(status):
    replicas = group(2)
    first = replicas.pick(7, 0.0)
    assert first is not None
    replicas.finish(first, status, started_s=0.0, now_s=0.0, retry_after_s=3.0)
    assert first.circuit.state == PAUSED
    assert {replicas.pick(7, now_s) is first for now_s in (0.1, 2.9)} == {False}
    assert replicas.pick(7, 3.0) is first
    assert first.circuit.state == CLOSED
    assert first.circuit.num_opened == 0


def test_a_share_of_errors_ejects_an_outlier():
    replicas = group(4)
    bad = replicas.all[2]
    for index in range(400):
        now_s = index * 0.01
        replica = replicas.pick(0, now_s)
        assert replica is not None
        status = 500 if replica is bad and index % 5 else 200
        replicas.finish(replica, status, started_s=now_s, now_s=now_s)
    assert bad.circuit.state == OPEN
    assert [replica.circuit.state for replica in replicas.all].count(OPEN) == 1


@given(st.integers(1, 9), st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.integers(0, 2**32))
def test_ejection_never_goes_beyond_its_share(count, share, seed):
    breaker = Breaker(failures=0, min_requests=3, error_share=0.1, max_ejected_share=share)
    replicas = group(count, breaker)
    rng = random.Random(seed)
    now_s = 0.0
    for _ in range(200):
        now_s += rng.random()
        if replica := replicas.pick(0, now_s):
            replicas.finish(replica, rng.choice([200, 500, 500]), started_s=now_s, now_s=now_s)
        left_alone = sum(replica.circuit.ejected for replica in replicas.all)
        assert left_alone <= share * count


def test_an_engine_that_is_down_for_ten_minutes_is_tried_a_dozen_times():
    replicas = group(1)
    reached = 0
    for tick in range(60_000):  # a hundred requests a second
        if replica := replicas.pick(0, tick * 0.01):
            reached += 1
            replicas.finish(replica, 502, started_s=tick * 0.01, now_s=tick * 0.01)
    assert 15 <= reached <= 20
    assert replicas.all[0].load.in_flight == 0


def test_an_engine_that_flaps_is_left_alone_longer_and_longer():
    """Up for a second, down for a second, for twenty minutes: it opens a few dozen times, not six hundred."""
    replicas = group(1)
    failed = 0
    for tick in range(12_000):
        now_s = tick * 0.1
        if replica := replicas.pick(0, now_s):
            status = 500 if int(now_s) % 2 else 200
            failed += status == 500
            replicas.finish(replica, status, started_s=now_s, now_s=now_s)
    assert 10 <= replicas.all[0].circuit.num_opened <= 40
    assert failed <= 5 * 40


def test_retries_stay_within_their_budget():
    budget, retries = RetryBudget(), Retries(max=1, budget_share=0.2, budget_floor=10)
    made = 0
    for index in range(1000):
        now_s = index * 0.005  # five seconds in which everything fails
        budget.note_request(now_s)
        made += budget.spend(retries, 0, now_s)
    assert 200 <= made <= 10 + 0.2 * 1000
    assert budget.num_refused == 1000 - made
    assert not budget.spend(retries, 1, 5.0)
    assert budget.spend(retries, 0, 100.0)  # the window slides


@given(st.lists(st.floats(0.002, 100.0), min_size=20, max_size=200))
def test_quantiles_are_right_to_a_tenth(values):
    latencies = Latencies()
    for value in values:
        latencies.observe(value, 1000.0)
    exact = sorted(values)[-(-19 * len(values) // 20) - 1]
    assert exact <= latencies.quantile(0.95) * 1.0001
    assert latencies.quantile(0.95) <= exact * 1.11


def test_old_latencies_fade():
    latencies = Latencies()
    for index in range(100):
        latencies.observe(9.0, 50.0 + index * 0.01)
    assert latencies.count(50.0 + 300) < 0.1
    for _ in range(20):
        latencies.observe(0.1, 50.0 + 300)
    assert latencies.quantile(0.95) < 0.2
    assert latencies.count(50.0 + 300 + 10_000) == pytest.approx(0.0, abs=1e-9)
