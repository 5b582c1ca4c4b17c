"""Replicas: affinity that survives losses, loads that stay bounded, and the least loaded otherwise. Simulated."""

import random
from collections import Counter, deque

import pytest

from modelyard.gateway.routing.engines import Load
from modelyard.gateway.routing.health import Circuit, Latencies
from modelyard.gateway.routing.replicas import Replica, Replicas, affinity_key
from modelyard.ports.serving import Breaker


def group(count: int) -> Replicas:
    urls = [f"http://10.0.0.{index}:8000" for index in range(count)]
    return Replicas([Replica(url, Load(url), Circuit()) for url in urls], Breaker(failures=1), Latencies())


def peek(replicas: Replicas, key: int, now_s: float = 0.0) -> str:
    replica = replicas.pick(key, now_s)
    assert replica is not None
    replicas.finish(replica, 200, started_s=now_s, now_s=now_s)
    return replica.name


def test_the_key_is_the_session_else_the_prefix_else_nothing():
    assert affinity_key("s", b"system") == affinity_key("s", b"other")
    assert affinity_key("", b"system", b"hi") == affinity_key("", b"system", b"hi")
    assert affinity_key("", b"ab", b"c") != affinity_key("", b"a", b"bc")
    assert affinity_key("", b"", b"") == 0
    assert affinity_key("s") == 5477849717001345551  # the same in every process and version


def test_one_conversation_stays_with_one_replica_and_conversations_spread_evenly():
    replicas = group(8)
    keys = [affinity_key(f"session-{index}") for index in range(8000)]
    homes = [peek(replicas, key) for key in keys]
    assert homes == [peek(replicas, key) for key in keys]
    counts = Counter(homes).values()
    assert max(counts) < 1.15 * 1000
    assert min(counts) > 0.85 * 1000


def test_a_lost_replica_moves_its_own_conversations_alone_and_gets_them_back():
    replicas = group(8)
    keys = [affinity_key(f"session-{index}") for index in range(2000)]
    before = [peek(replicas, key) for key in keys]
    lost = replicas.all[3]
    lost.circuit.open(Breaker(), 0.0)
    during = [peek(replicas, key, 1.0) for key in keys]
    moved = [new for old, new in zip(before, during, strict=True) if old == lost.name]
    assert all(old == new for old, new in zip(before, during, strict=True) if old != lost.name)
    assert len(set(moved)) == 7
    assert [peek(replicas, key, 6.0) for key in keys] == before


def test_a_new_replica_takes_from_each_its_share_alone():
    keys = [affinity_key(f"session-{index}") for index in range(4000)]
    before, after = ([peek(group, key) for key in keys] for group in (group(4), group(5)))
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {"10.0.0.4:8000"}
    assert 0.16 < len(moved) / 4000 < 0.24


@pytest.mark.parametrize("skew", [0.8, 1.1, 2.0])
def test_loads_stay_bounded_under_zipf_prefixes_and_affinity_remains(skew):
    """256 requests in flight over 8 replicas, prefixes drawn by Zipf: no replica has more than 1.25 times the mean."""
    replicas, rng = group(8), random.Random(7)
    keys = [affinity_key("", b"prefix-%d" % rank) for rank in range(1000)]
    draws = rng.choices(keys, weights=[1 / (rank + 1) ** skew for rank in range(1000)], k=20_000)
    in_flight: deque[Replica] = deque()
    worst, homes = 0.0, Counter()
    for key in draws:
        if len(in_flight) == 256:
            replicas.finish(in_flight.popleft(), 200, started_s=0.0, now_s=0.0)
        replica = replicas.pick(key, 0.0)
        assert replica is not None
        in_flight.append(replica)
        homes[key, replica.name] += 1
        if len(in_flight) == 256:
            worst = max(worst, max(each.load.in_flight for each in replicas.all) / 32)
    assert worst <= 1.25 + 1 / 32
    # Of the requests, the share that went where most of their prefix went: by chance it would be an eighth.
    best = Counter()
    for (key, _), count in homes.items():
        best[key] = max(best[key], count)
    assert sum(best.values()) / len(draws) > (0.3 if skew == 2.0 else 0.6)


@pytest.mark.parametrize("count", [2, 4, 16, 64])
def test_without_a_key_the_load_is_even(count):
    replicas = group(count)
    for _ in range(count * 50):
        assert replicas.pick(0, 0.0)
    loads = [replica.load.in_flight for replica in replicas.all]
    assert max(loads) <= 50 + (1 if count <= 4 else 8)


def test_what_waits_at_an_engine_counts_while_it_is_fresh():
    replicas = group(2)
    replicas.all[0].load.take((5.0, 1.0, 0.1), 10.0)
    first = [replicas.pick(0, 0.0) for _ in range(5)]
    assert {replica.name for replica in first if replica} == {"10.0.0.1:8000"}
    stale = Counter(replica.name for replica in (replicas.pick(0, 11.0) for _ in range(5)) if replica)
    assert stale["10.0.0.0:8000"] >= 4


def test_a_retry_goes_to_another_replica_where_there_is_one():
    replicas = group(3)
    first = replicas.pick(9, 0.0)
    assert first is not None
    second = replicas.pick(9, 0.0, (first,))
    assert second is not None
    assert second is not first
    third = replicas.pick(9, 0.0, (first, second))
    assert third not in (first, second, None)
    assert replicas.pick(9, 0.0, replicas.all) in replicas.all
    alone = group(1)
    assert alone.pick(0, 0.0, alone.all) is alone.all[0]


def test_all_left_alone_is_none_and_says_for_how_long():
    replicas = group(3)
    for replica in replicas.all:
        replica.circuit.open(Breaker(open_s=5.0), 0.0)
    assert replicas.pick(0, 1.0) is None
    assert replicas.pick(5, 1.0) is None
    assert replicas.retry_after_s(1.0) == 4.0
    assert dict(replicas.refusal(1.0).headers) == {b"retry-after": b"4"}
    assert not replicas.available(1.0)
    trials = {replicas.pick(0, 5.0) for _ in range(3)}
    assert trials == set(replicas.all)
    assert replicas.pick(0, 5.0) is None
