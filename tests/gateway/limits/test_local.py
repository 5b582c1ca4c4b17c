"""Limits in one process, against a model that keeps every request and counts them anew each time."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.gateway.errors import Refusal
from modelyard.gateway.limits.local import Grant
from modelyard.ports.limits import Limits
from tests.gateway.limits.harness import Clock, limits_of, table


@dataclass
class Taken:
    at_s: float
    wall_s: float
    tokens: int
    cost: int
    late: list[tuple[int, int]] = field(default_factory=list)
    running: bool = True


class Model:
    """One subject, obviously."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self.limits = limits
        self.clock = clock
        self.taken: list[Taken] = []

    def allows(self, tokens: int, cost: int) -> bool:
        limits, wall = self.limits, self.clock.wall_s
        if limits.requests_per_minute and not self._is_due():
            return False
        minute = int(wall // 60)
        now, before = self._tokens_in(minute), self._tokens_in(minute - 1)
        if limits.tokens_per_minute:
            share = (60 - wall % 60) / 60
            if before * share + now + max(tokens, 1) > limits.tokens_per_minute:
                return False
        if limits.concurrency and sum(one.running for one in self.taken) >= limits.concurrency:
            return False
        day = sum(one.cost for one in self.taken if one.wall_s // 86400 == wall // 86400)
        if limits.daily_nanousd and day + max(cost, 1) > limits.daily_nanousd:
            return False
        # All of a test lies in January or February 2026.
        month = sum(one.cost for one in self.taken if (one.wall_s < FEBRUARY_S) == (wall < FEBRUARY_S))
        return not (limits.monthly_nanousd and month + max(cost, 1) > limits.monthly_nanousd)

    def take(self, tokens: int, cost: int) -> Taken:
        self.taken.append(Taken(self.clock.now_s, self.clock.wall_s, tokens, cost))
        return self.taken[-1]

    def settle(self, one: Taken, tokens: int, cost: int) -> None:
        minute = int(self.clock.wall_s // 60)
        if minute - int(one.wall_s // 60) <= 1:
            one.tokens = tokens
        elif tokens > one.tokens:
            one.late.append((minute, tokens - one.tokens))
        one.cost = cost
        one.running = False

    def _tokens_in(self, minute: int) -> int:
        own = sum(one.tokens for one in self.taken if int(one.wall_s // 60) == minute)
        return own + sum(tokens for one in self.taken for at, tokens in one.late if at == minute)

    def _is_due(self) -> bool:
        interval = 60 / self.limits.requests_per_minute
        burst = self.limits.burst or max(1, self.limits.requests_per_minute // 10)
        due = 0.0
        for one in self.taken:
            due = max(due, one.at_s) + interval
        return due - self.clock.now_s <= (burst - 1) * interval + 1e-9


FEBRUARY_S = 1_769_904_000.0

some_limits = st.builds(
    Limits,
    requests_per_minute=st.sampled_from([0, 6, 60]),
    burst=st.sampled_from([0, 1, 3]),
    tokens_per_minute=st.sampled_from([0, 50, 200]),
    concurrency=st.sampled_from([0, 1, 3]),
    daily_nanousd=st.sampled_from([0, 100, 300]),
    monthly_nanousd=st.sampled_from([0, 250, 1000]),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.sampled_from([0, 1, 25, 50, 60]), st.sampled_from([0, 1, 50, 100, 120])),
        st.tuples(st.just("settle"), st.sampled_from([0, 25, 50, 80]), st.sampled_from([0, 50, 100, 150])),
        st.tuples(st.just("wait"), st.sampled_from([0, 1, 7, 30, 59, 61, 130, 3600, 86_400, 20 * 86_400]), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(some_limits, some_limits, steps, st.sampled_from([0.0, 43_190.0, 2_600_000.0]))
def test_two_subjects_allow_what_the_model_allows(
    tenant: Limits, key: Limits, plan: list[tuple[str, int, int]], offset_s: float
) -> None:
    clock = Clock()
    clock.pass_by(offset_s)
    local = limits_of(table(tenant=tenant, key=key), clock)
    subjects = local.subjects.of("acme", "k1", "support")
    models = [Model(subject.limits, clock) for subject in subjects]
    open_: list[tuple[Grant, list[Taken]]] = []
    for what, first, second in plan:
        if what == "wait":
            clock.pass_by(first)
        elif what == "settle":
            if open_:
                grant, ones = open_.pop(first % len(open_))
                grant.settle(first, second)
                for model, one in zip(models, ones, strict=True):
                    model.settle(one, first, second)
        elif all(model.allows(first, second) for model in models):
            open_.append((local.take(subjects, first, second), [model.take(first, second) for model in models]))
        else:
            with pytest.raises(Refusal) as refused:
                local.take(subjects, first, second)
            assert refused.value.status == 429
    for subject, model in zip(subjects, models, strict=True):
        assert subject.account.in_flight == sum(one.running for one in model.taken)


def test_a_reservation_of_nothing_passes_only_where_something_is_left() -> None:
    for limits in (Limits(daily_nanousd=100), Limits(monthly_nanousd=100), Limits(tokens_per_minute=100)):
        local = limits_of(table(tenant=limits), Clock())
        subjects = local.subjects.of("acme", "k1", "support")
        local.take(subjects, 0, 0).settle(99, 99)
        local.take(subjects, 0, 0).settle(1, 1)
        with pytest.raises(Refusal):
            local.take(subjects, 0, 0)


def test_what_ends_in_the_next_minute_gives_its_tokens_back_to_its_own() -> None:
    clock = Clock()
    local = limits_of(table(tenant=Limits(tokens_per_minute=100)), clock)
    subjects = local.subjects.of("acme", "k1", "support")
    grant = local.take(subjects, 100, 0)
    clock.pass_by(60)
    with pytest.raises(Refusal):
        local.take(subjects, 50, 0)
    grant.settle(40, 0)
    local.take(subjects, 60, 0)
    with pytest.raises(Refusal):
        local.take(subjects, 1, 0)


def test_what_a_long_answer_took_beyond_its_reservation_counts_when_it_ends() -> None:
    clock = Clock()
    local = limits_of(table(tenant=Limits(tokens_per_minute=100)), clock)
    subjects = local.subjects.of("acme", "k1", "support")
    grant = local.take(subjects, 10, 0)
    clock.pass_by(600)
    grant.settle(105, 0)
    local.take(subjects, 5, 0)
    with pytest.raises(Refusal):
        local.take(subjects, 1, 0)


def test_a_grant_is_settled_once() -> None:
    local = limits_of(table(tenant=Limits(daily_nanousd=100, concurrency=1)), Clock())
    subjects = local.subjects.of("acme", "k1", "support")
    grant = local.take(subjects, 0, 60)
    grant.settle(0, 50)
    grant.settle(0, 50)
    assert (subjects[0].account.day_used, subjects[0].account.in_flight) == (50, 0)


def test_what_was_reserved_yesterday_is_charged_to_yesterday() -> None:
    clock = Clock()
    local = limits_of(table(tenant=Limits(daily_nanousd=100, monthly_nanousd=1000)), clock)
    subjects = local.subjects.of("acme", "k1", "support")
    grant = local.take(subjects, 0, 90)
    clock.pass_by(86_400)
    local.take(subjects, 0, 100).settle(0, 40)
    grant.settle(0, 70)
    assert (subjects[0].account.day_used, subjects[0].account.month_used) == (40, 110)


def test_a_wall_clock_set_back_forgives_nothing() -> None:
    clock = Clock()
    local = limits_of(table(tenant=Limits(daily_nanousd=100)), clock)
    subjects = local.subjects.of("acme", "k1", "support")
    local.take(subjects, 0, 100).settle(0, 100)
    clock.wall_s -= 86_400
    clock.now_s += 3600
    with pytest.raises(Refusal):
        local.take(subjects, 0, 1)


@pytest.mark.parametrize(
    ("limits", "tokens", "cost", "code", "says", "retry"),
    [
        (Limits(requests_per_minute=6), 1, 1, "rate_limit_exceeded", "6 requests a minute", b"10"),
        (Limits(tokens_per_minute=100), 80, 1, "rate_limit_exceeded", "of its 100 a minute", b"105"),
        (Limits(tokens_per_minute=70), 80, 1, "rate_limit_exceeded", "can never pass", None),
        (Limits(concurrency=1), 1, 1, "rate_limit_exceeded", "1 requests at once", b"1"),
        (Limits(daily_nanousd=100), 1, 90, "insufficient_quota", "a day", b"43200"),
        (Limits(monthly_nanousd=100), 1, 90, "insufficient_quota", "a month", b"2635200"),
        (Limits(monthly_nanousd=80), 1, 90, "insufficient_quota", "can never pass", None),
    ],
)
def test_a_refusal_says_which_limit_of_whom_and_when_to_try_again(
    limits: Limits, tokens: int, cost: int, code: str, says: str, retry: bytes | None
) -> None:
    local = limits_of(table(tenant=limits), Clock())
    subjects = local.subjects.of("acme", "k1", "support")
    if retry is not None:
        local.take(subjects, tokens, cost)
    with pytest.raises(Refusal) as refused:
        local.take(subjects, tokens, cost)
    assert refused.value.code == code
    assert "tenant 'acme'" in str(refused.value)
    assert says in str(refused.value)
    assert dict(refused.value.headers).get(b"retry-after") == retry
    assert refused.value.param == ("max_tokens" if retry is None else None)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=8), st.integers(1, 60), st.sampled_from([0, 5, 59]), some_limits
)
def test_who_waits_as_long_as_told_is_let_through(
    before: list[int], tokens: int, first_wait: int, limits: Limits
) -> None:
    """True of rates and tokens; of concurrency nobody knows, and budgets are days away."""
    rates = Limits(
        requests_per_minute=limits.requests_per_minute, burst=limits.burst, tokens_per_minute=limits.tokens_per_minute
    )
    clock = Clock()
    local = limits_of(table(tenant=rates), clock)
    subjects = local.subjects.of("acme", "k1", "support")
    for earlier in before:
        try:
            local.take(subjects, earlier, 0).settle(earlier, 0)
        except Refusal:
            clock.pass_by(first_wait)
    try:
        local.take(subjects, tokens, 0)
    except Refusal as refusal:
        wait = dict(refusal.headers).get(b"retry-after")
        if wait is None:
            assert tokens > rates.tokens_per_minute
            return
        clock.pass_by(int(wait))
        local.take(subjects, tokens, 0)


def test_the_headers_are_those_of_the_tightest() -> None:
    local = limits_of(
        table(
            tenant=Limits(requests_per_minute=60, burst=10, tokens_per_minute=1000),
            key=Limits(requests_per_minute=600, burst=4, tokens_per_minute=5000),
        ),
        Clock(),
    )
    grant = local.take(local.subjects.of("acme", "k1", "support"), 400, 0)
    lines = dict(line.split(b": ") for line in grant.headers().splitlines())
    assert lines == {
        b"x-ratelimit-limit-requests": b"600",
        b"x-ratelimit-remaining-requests": b"3",
        b"x-ratelimit-reset-requests": b"0.100s",
        b"x-ratelimit-limit-tokens": b"1000",
        b"x-ratelimit-remaining-tokens": b"600",
        b"x-ratelimit-reset-tokens": b"120.000s",
    }
