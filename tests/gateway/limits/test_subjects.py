"""Subjects: what is prepared for a table, what outlives it, how many users are held apart."""

import pytest

from modelyard.gateway.errors import Refusal
from modelyard.gateway.limits.subjects import needs_redis, user_scope
from modelyard.ports.limits import Limits
from tests.gateway.limits.harness import Clock, limits_of, table


def test_only_what_has_a_limit_is_a_subject() -> None:
    local = limits_of(table(key=Limits(concurrency=1)))
    assert [subject.scope for subject in local.subjects.of("acme", "k1", "support", "ann")] == [b"k:k1"]
    assert local.subjects.of("other", "k2", "none", "ann") == ()


def test_a_new_table_keeps_what_was_used_and_takes_new_limits() -> None:
    local = limits_of(table(tenant=Limits(daily_nanousd=100), user=Limits(daily_nanousd=60)))
    local.take(local.subjects.of("acme", "k1", "support", "ann"), 0, 50).settle(0, 50)
    local.subjects.take_table(table(tenant=Limits(daily_nanousd=200), user=Limits(daily_nanousd=55)))
    subjects = local.subjects.of("acme", "k1", "support", "ann")
    assert [subject.account.day_used for subject in subjects] == [50, 50]
    with pytest.raises(Refusal, match="user 'ann'"):
        local.take(subjects, 0, 6)
    local.take(subjects, 0, 5)


def test_a_table_without_a_tenant_and_back_forgives_it_nothing() -> None:
    local = limits_of(table(tenant=Limits(daily_nanousd=100), user=Limits(concurrency=1)))
    local.take(local.subjects.of("acme", "k1", "support", "ann"), 0, 100).settle(0, 100)
    local.subjects.take_table(table(service=Limits(concurrency=1)))
    assert set(local.subjects.accounts) == {b"t:acme", b"s:support"}
    local.subjects.take_table(table(tenant=Limits(daily_nanousd=100)))
    with pytest.raises(Refusal):
        local.take(local.subjects.of("acme", "k1", "support"), 0, 1)


def test_idle_users_make_room_and_those_who_spent_do_not() -> None:
    clock = Clock()
    local = limits_of(table(user=Limits(daily_nanousd=100)), clock, max_users=3)
    local.take(local.subjects.of("acme", "k1", "support", "spender"), 0, 100).settle(0, 100)
    for number in range(50):
        local.subjects.of("acme", "k1", "support", f"idle-{number}")
    assert local.subjects.num_users == 3
    with pytest.raises(Refusal):
        local.take(local.subjects.of("acme", "k1", "support", "spender"), 0, 1)


def test_where_all_users_spent_further_ones_share_one_budget() -> None:
    local = limits_of(table(user=Limits(daily_nanousd=100)), Clock(), max_users=2)
    for name in ("a", "b"):
        local.take(local.subjects.of("acme", "k1", "support", name), 0, 10)
    local.take(local.subjects.of("acme", "k1", "support", "c"), 0, 60)
    with pytest.raises(Refusal, match="further users of tenant 'acme'"):
        local.take(local.subjects.of("acme", "k1", "support", "d"), 0, 60)
    assert len(local.subjects.accounts) == 3


def test_a_user_is_named_in_scopes_by_a_digest_alone() -> None:
    assert b"ann" not in user_scope("acme", "ann@example.org")
    assert user_scope("acme", "ann") != user_scope("acme", "bob")


def test_what_needs_redis_is_named() -> None:
    assert needs_redis(table()) == ""
    assert needs_redis(table(user=Limits(concurrency=1), service=Limits(daily_nanousd=1))) == (
        "the limits of tenant 'acme', service 'support'"
    )
