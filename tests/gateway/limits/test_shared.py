"""Limits through a real Redis: what it decides, and what happens where it is slow, gone, or forgets."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.core.clock import now_ms
from modelyard.core.errors import MissingExtra
from modelyard.gateway.errors import Refusal
from modelyard.gateway.limits import shared as module
from modelyard.gateway.limits.local import Grant, LocalLimits
from modelyard.gateway.limits.recovery import Recovery
from modelyard.gateway.limits.shared import SharedGrant, SharedLimits, SharedSettings
from modelyard.gateway.recording.journal import Journal
from modelyard.ports.interaction import Interaction
from modelyard.ports.limits import Limits
from tests.gateway.harness import read_entries
from tests.gateway.limits.harness import RedisServer, limits_of, run_async, spent, table
from tests.gateway.limits.proxy import Proxy

BUDGET = table(tenant=Limits(daily_nanousd=1000, monthly_nanousd=5000, concurrency=5), key=Limits(concurrency=4))


@asynccontextmanager
async def shared(url: str, local: LocalLimits | None = None, **changes: Any) -> AsyncIterator[SharedLimits]:
    settings = {"timeout_s": 2.0, **changes}
    limits = SharedLimits(SharedSettings(url=url, **settings), local or limits_of(BUDGET))
    await limits.start()
    try:
        yield limits
    finally:
        await limits.close(drain_s=2.0)


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def settled(limits: SharedLimits) -> None:
    await until(lambda: limits.waiting == 0)


def subjects_of(limits: SharedLimits) -> Any:
    return limits.local.subjects.of("acme", "k1", "support")


@run_async
async def test_a_take_and_its_settlement(redis_server: RedisServer) -> None:
    async with shared(redis_server.url) as limits:
        grant = await limits.take(subjects_of(limits), 50, 100)
        assert (redis_server.used("t:acme")["dused"], redis_server.running("k:k1")) == (100, 1)
        grant.settle(10, 30)
        grant.settle(10, 30)
        await settled(limits)
    used = redis_server.used("t:acme")
    assert (used["dused"], used["mused"]) == (30, 30)
    assert (redis_server.running("t:acme"), redis_server.running("k:k1")) == (0, 0)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(0, 60), st.integers(0, 120)),
        st.tuples(st.just("settle"), st.integers(0, 80), st.integers(0, 150)),
    ),
    max_size=25,
)
some_limits = st.builds(
    Limits,
    requests_per_minute=st.sampled_from([0, 1]),
    burst=st.sampled_from([1, 5]),
    tokens_per_minute=st.sampled_from([0, 200]),
    concurrency=st.sampled_from([0, 1, 3]),
    daily_nanousd=st.sampled_from([0, 100, 300]),
    monthly_nanousd=st.sampled_from([0, 250]),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some_limits, some_limits, steps)
def test_redis_decides_as_one_process_does(
    redis_server: RedisServer, tenant: Limits, key: Limits, plan: list[tuple[str, int, int]]
) -> None:
    redis_server.flush()
    asyncio.run(compare(redis_server.url, tenant, key, plan))


async def compare(url: str, tenant: Limits, key: Limits, plan: list[tuple[str, int, int]]) -> None:
    one = limits_of(table(tenant=tenant, key=key))
    began = one.calendar.minute
    subjects = one.subjects.of("acme", "k1", "support")
    async with shared(url, limits_of(table(tenant=tenant, key=key))) as limits:
        open_: list[tuple[Grant, SharedGrant]] = []
        for what, first, second in plan:
            if what == "settle":
                if open_:
                    for grant in open_.pop(first % len(open_)):
                        grant.settle(first, second)
                continue
            said = [await outcome(limits.take(subjects_of(limits), first, second)), None]
            try:
                said[1] = one.take(subjects, first, second)
            except Refusal as refusal:
                said[1] = refusal.code
            one.calendar.look()
            if one.calendar.minute != began:
                return
            if isinstance(said[1], Grant):
                assert isinstance(said[0], SharedGrant)
                open_.append((said[1], said[0]))
            else:
                assert said[0] == said[1]


async def outcome(taking: Any) -> Any:
    try:
        return await taking
    except Refusal as refusal:
        return refusal.code


@run_async
async def test_a_refusal_tells_what_all_gateways_used(redis_server: RedisServer) -> None:
    async with shared(redis_server.url) as other, shared(redis_server.url) as limits:
        (await other.take(subjects_of(other), 0, 950)).settle(0, 950)
        await settled(other)
        with pytest.raises(Refusal, match=r"tenant 'acme' has \$0.00000005 left") as refused:
            await limits.take(subjects_of(limits), 0, 60)
        assert refused.value.code == "insufficient_quota"
        assert redis_server.running("k:k1") == 0


@run_async
async def test_what_a_dead_gateway_held_is_free_after_its_lease(redis_server: RedisServer) -> None:
    async with shared(redis_server.url, lease_s=0.4) as dead, shared(redis_server.url, lease_s=0.4) as limits:
        await dead.take(subjects_of(dead), 0, 1000)
        assert dead._task is not None
        dead._task.cancel()
        with pytest.raises(Refusal):
            await limits.take(subjects_of(limits), 0, 1000)
        await asyncio.sleep(0.5)
        await limits.take(subjects_of(limits), 0, 1000)


@run_async
async def test_a_long_stream_keeps_its_lease(redis_server: RedisServer) -> None:
    async with shared(redis_server.url, lease_s=0.6) as limits, shared(redis_server.url) as other:
        grant = await limits.take(subjects_of(limits), 0, 1000)
        await asyncio.sleep(1.5)
        with pytest.raises(Refusal):
            await other.take(subjects_of(other), 0, 1)
        grant.settle(0, 10)
        await settled(limits)
        assert redis_server.used("t:acme")["dused"] == 10


@run_async
async def test_a_settlement_whose_lease_ended_is_charged_in_full(redis_server: RedisServer) -> None:
    async with shared(redis_server.url) as limits, shared(redis_server.url) as other:
        grant = await limits.take(subjects_of(limits), 0, 100)
        redis_server.flush()
        await other.take(subjects_of(other), 0, 200)
        grant.settle(0, 70)
        await settled(limits)
        assert redis_server.used("t:acme")["dused"] == 270


@run_async
async def test_an_answer_that_is_lost_settles_nothing_twice(redis_server: RedisServer) -> None:
    proxy = Proxy(redis_server.port)
    await proxy.start()
    async with shared(proxy.url) as limits:
        grants = [await limits.take(subjects_of(limits), 0, 100) for _ in range(4)]
        proxy.loses_answers = True
        for grant in grants:
            grant.settle(0, 25)
        await until(lambda: proxy.num_lost >= 2)
        assert limits.waiting == 4
        assert redis_server.used("t:acme")["dused"] == 100
        proxy.loses_answers = False
        await settled(limits)
        assert redis_server.used("t:acme")["dused"] == 100
    await proxy.stop()


@run_async
async def test_a_take_whose_answer_is_lost_is_given_back(redis_server: RedisServer) -> None:
    proxy = Proxy(redis_server.port)
    await proxy.start()
    async with shared(proxy.url, on_redis_down="open") as limits:
        proxy.loses_answers = True
        grant = await limits.take(subjects_of(limits), 0, 400)
        assert redis_server.used("t:acme")["dused"] == 400
        proxy.loses_answers = False
        await until(lambda: limits.up)
        await settled(limits)
        assert redis_server.used("t:acme")["dused"] == 0
        assert redis_server.running("t:acme") == 0
        grant.settle(0, 5)
        await settled(limits)
        assert redis_server.used("t:acme")["dused"] == 5
    await proxy.stop()


@run_async
async def test_a_caller_that_leaves_holds_nothing(redis_server: RedisServer) -> None:
    async with shared(redis_server.url) as limits:
        taking = asyncio.create_task(limits.take(subjects_of(limits), 0, 100))
        await asyncio.sleep(0)
        taking.cancel()
        await asyncio.wait({taking})
        await settled(limits)
        (await limits.take(subjects_of(limits), 0, 100)).settle(0, 0)
        await settled(limits)
        assert (redis_server.used("t:acme")["dused"], redis_server.running("t:acme")) == (0, 0)


async def outage(redis_server: RedisServer, mode: str) -> tuple[SharedLimits, list[Any]]:
    """Nine requests of 150 of a budget of 1,000, of which 300 is spent, while Redis is down; it comes back after."""
    async with shared(redis_server.url, on_redis_down=mode, timeout_s=0.2) as limits:
        (await limits.take(subjects_of(limits), 0, 300)).settle(0, 300)
        await settled(limits)
        (await limits.take(subjects_of(limits), 0, 10)).settle(0, 0)
        await settled(limits)
        redis_server.stop()
        said = []
        for _ in range(9):
            result = await outcome(limits.take(subjects_of(limits), 0, 150))
            if isinstance(result, SharedGrant):
                result.settle(0, 140)
            said.append(result)
        assert not limits.up
        redis_server.start()
        await until(lambda: limits.up)
        await settled(limits)
    return limits, said


@run_async
async def test_redis_down_local_each_gateway_holds_the_budget_it_last_knew(redis_server: RedisServer) -> None:
    _, said = await outage(redis_server, "local")
    passed = [one for one in said if isinstance(one, SharedGrant)]
    assert len(passed) == 4
    assert set(said[4:]) == {"insufficient_quota"}
    assert redis_server.used("t:acme")["dused"] == 300 + 4 * 140


@run_async
async def test_redis_down_open_lets_all_through_and_counts_it_later(redis_server: RedisServer) -> None:
    limits, said = await outage(redis_server, "open")
    assert all(isinstance(one, SharedGrant) for one in said)
    assert redis_server.used("t:acme")["dused"] == 300 + 9 * 140
    assert limits.num_without_redis == 9


@run_async
async def test_redis_down_closed_lets_nothing_through(redis_server: RedisServer) -> None:
    _, said = await outage(redis_server, "closed")
    assert said == ["limits_unavailable"] * 9
    assert redis_server.used("t:acme")["dused"] == 300


@run_async
async def test_redis_that_hangs_holds_a_request_up_for_the_timeout_and_no_longer(redis_server: RedisServer) -> None:
    async with shared(redis_server.url, timeout_s=0.2) as limits:
        assert redis_server.process is not None
        os.kill(redis_server.process.pid, signal.SIGSTOP)
        loop = asyncio.get_running_loop()
        try:
            began = loop.time()
            grants = await asyncio.gather(*[limits.take(subjects_of(limits), 0, 10) for _ in range(3)])
            assert 0.15 < loop.time() - began < 1.5
            began = loop.time()
            await limits.take(subjects_of(limits), 0, 10)
            assert loop.time() - began < 0.1
        finally:
            os.kill(redis_server.process.pid, signal.SIGCONT)
        for grant in grants:
            grant.settle(0, 7)
        await until(lambda: limits.up)
        await settled(limits)
        # The three takes that Redis heard too late may lie there until their leases end: as reservations, not spends.
        used = redis_server.used("t:acme")["dused"]
        assert used - 10 * redis_server.running("t:acme") == 21


@run_async
async def test_in_a_long_outage_the_journal_is_the_queue(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 50)
    local = limits_of(BUDGET)
    journal = Journal(tmp_path)
    recovery = Recovery(tmp_path, journal.start, journal.position, local.calendar)
    limits = SharedLimits(SharedSettings(url=redis_server.url, on_redis_down="open"), local, recovery)
    await limits.start()

    async def request(cost: int) -> None:
        grant = await limits.take(subjects_of(limits), 0, 0)
        journal.append(spent(cost, now_ms()))
        grant.settle(0, cost)

    await request(1)
    await settled(limits)
    redis_server.stop()
    for _ in range(300):
        await request(10)
    assert limits.waiting == 50
    await asyncio.to_thread(redis_server.start)
    # Requests go on while the journal is sent.
    while not limits.up:
        await request(10)
        await asyncio.sleep(0.001)
    await settled(limits)
    await limits.close()
    written = sum(entry.cost_nanousd for entry in read_entries(tmp_path) if isinstance(entry, Interaction))
    assert written > 3001
    assert redis_server.used("t:acme")["dused"] == written
    assert not list(tmp_path.glob("*.limits"))


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(MissingExtra, match="redis"):
        SharedLimits(SharedSettings(url="redis://127.0.0.1"), limits_of(BUDGET))


@run_async
async def test_redis_that_forgot_its_scripts_is_told_them_again(redis_server: RedisServer) -> None:
    import redis

    async with shared(redis_server.url) as limits:
        with redis.Redis(port=redis_server.port) as client:
            client.script_flush()
        (await limits.take(subjects_of(limits), 0, 10)).settle(0, 10)
        await until(lambda: limits.up)
        await settled(limits)
        assert redis_server.used("t:acme")["dused"] == 10


@run_async
async def test_redis_that_is_away_at_the_start(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    redis_server.stop()
    url = f"redis://:secret@127.0.0.1:{redis_server.port}"
    async with shared(url, on_redis_down="closed") as limits:
        with pytest.raises(Refusal) as refused:
            await limits.take(subjects_of(limits), 0, 10)
        assert (refused.value.status, refused.value.code) == (503, "limits_unavailable")
    assert "Redis does not answer" in caplog.text
    assert "secret" not in caplog.text
    assert str(redis_server.port) not in caplog.text
    redis_server.start()
