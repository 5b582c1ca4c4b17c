"""Admission: never more than the places, the order of the line, who is shed, deadlines. In virtual time."""

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.gateway.errors import Refusal
from modelyard.gateway.routing.admission import Admission, Waiter, deadline_of
from modelyard.ports.serving import Queue

LATE = 1e9


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0
        select = self._selector.select

        def jump(timeout: float | None) -> Any:
            self.now_s += timeout or 0.0
            return select(0)

        self._selector.select = jump

    def time(self) -> float:
        return self.now_s


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)


def now_s() -> float:
    return asyncio.get_running_loop().time()


def admission(max_in_flight: int = 1, max_waiting: int = 100, wait_s: float = 1000.0) -> Admission:
    queue = Queue(max_in_flight=max_in_flight, max_waiting=max_waiting, wait_s=wait_s)
    return Admission(queue, clock=now_s)


def waiting(line: Admission, priority: int = 0, tenant: str = "a", deadline_s: float = LATE) -> Waiter:
    waiter = line.enter(priority, tenant, deadline_s)
    assert waiter is not None
    return waiter


def refusal(waiter: Waiter) -> Refusal:
    error = waiter.future.exception()
    assert isinstance(error, Refusal)
    assert (error.status, error.code) == (503, "overloaded")
    return error


def test_where_there_is_room_nobody_waits():
    line = admission(2)  # no event loop is needed
    assert line.enter(0, "a", LATE) is None
    assert line.enter(0, "b", LATE) is None
    line.leave()
    assert line.enter(0, "a", LATE) is None
    assert line.in_flight == 2


def test_a_higher_priority_goes_first_and_equal_tenants_take_turns():
    async def play() -> None:
        line = admission()
        line.enter(0, "x", LATE)
        names = ["a1", "a2", "a3", "a4", "b1", "c1", "b2"]
        waiters = {name: waiting(line, 0, name[0]) for name in names} | {"top": waiting(line, 5, "a")}
        order = []
        for _ in waiters:
            line.leave()
            (name,) = [name for name, waiter in waiters.items() if waiter.future.done() and name not in order]
            order.append(name)
        assert order == ["top", "a1", "b1", "c1", "a2", "b2", "a3", "a4"]

    run(play())


def test_a_full_line_sheds_the_lowest_priority_newest_first():
    async def play() -> None:
        line = admission(1, 3)
        line.enter(0, "x", LATE)
        old, middle, new = waiting(line, 1), waiting(line, 0), waiting(line, 0)
        high = waiting(line, 2)
        assert "others go first" in str(refusal(new))
        higher = waiting(line, 2)
        refusal(middle)
        with pytest.raises(Refusal, match="line for it is full") as refused:
            line.enter(0, "a", LATE)
        assert dict(refused.value.headers)[b"retry-after"] == b"1"
        assert not any(waiter.future.done() for waiter in (old, high, higher))
        assert line.num_shed == 3

    run(play())


def test_a_tenant_that_fills_the_line_makes_room_for_its_equals():
    async def play() -> None:
        line = admission(1, 4)
        line.enter(0, "x", LATE)
        flood = [waiting(line, 0, "flood") for _ in range(4)]
        with pytest.raises(Refusal):
            line.enter(0, "flood", LATE)
        quiet = waiting(line, 0, "quiet")
        refusal(flood[3])
        line.leave()
        line.leave()
        assert quiet.future.done()

    run(play())


def test_a_wait_ends_at_its_limit_and_at_its_deadline():
    async def play() -> None:
        line = admission(wait_s=10.0)
        line.enter(0, "x", LATE)
        patient, urgent = waiting(line), waiting(line, deadline_s=now_s() + 3.0)
        await asyncio.sleep(2.9)
        assert not urgent.future.done()
        await asyncio.sleep(0.2)
        assert "no place came free in 3 s" in str(refusal(urgent))
        await asyncio.sleep(7.0)
        refusal(patient)
        assert line.num_waiting == 0

    run(play())


def test_a_deadline_that_cannot_be_met_is_refused_at_once_and_an_old_estimate_is_forgotten():
    async def play() -> None:
        line = admission(1)
        line.enter(0, "x", LATE)
        rest = [waiting(line) for _ in range(20)]
        for _ in range(10):  # an answer takes two seconds
            await asyncio.sleep(2.0)
            line.leave()
        assert line.wait_s(0) == pytest.approx(22.0)
        with pytest.raises(Refusal, match="before its deadline") as refused:
            line.enter(0, "a", now_s() + 20.0)
        assert dict(refused.value.headers)[b"retry-after"] == b"22"
        assert waiting(line, 0, "b", now_s() + 30.0)
        assert waiting(line, 9, "b", now_s() + 5.0)  # it goes first
        for waiter in rest[10:]:
            waiter.give_up()
        await asyncio.sleep(60.0)
        assert line.in_flight == 1
        assert waiting(line, 0, "c", now_s() + 1.0)

    run(play())


def test_one_whose_deadline_was_overtaken_is_refused_and_the_next_goes():
    async def play() -> None:
        line = admission(1)
        line.enter(0, "x", LATE)
        for _ in range(8):
            waiting(line)
        doomed = waiting(line, 1, deadline_s=now_s() + 40.0)
        await asyncio.sleep(1)
        for _ in range(7):
            line.leave()
            await asyncio.sleep(5)
        doomed_too, after = waiting(line, 3, deadline_s=now_s() + 11.0), waiting(line, 2)
        await asyncio.sleep(8)
        line.leave()
        refusal(doomed_too)
        assert after.future.done()
        assert doomed.future.done()

    run(play())


def test_giving_up_leaves_the_line_or_gives_the_place_back():
    async def play() -> None:
        line = admission(1)
        line.enter(0, "x", LATE)
        first, second, third = (waiting(line) for _ in range(3))
        second.give_up()
        assert second.future.cancelled()
        line.leave()
        assert first.future.done()
        first.give_up()  # it was let in, and its caller had gone
        assert third.future.done()
        assert third.future.exception() is None
        line.leave()
        assert (line.in_flight, line.num_waiting) == (0, 0)

    run(play())


def test_more_places_in_a_new_table_are_used_with_the_next_leaving():
    async def play() -> None:
        line = admission(1)
        line.enter(0, "x", LATE)
        waiters = [waiting(line) for _ in range(5)]
        line.queue = Queue(max_in_flight=4)
        line.leave()
        assert sum(waiter.future.done() for waiter in waiters) == 4
        assert line.in_flight == 4

    run(play())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(0, 8))
def test_places_are_never_exceeded_and_never_lost(seed, places, room):
    rng = random.Random(seed)

    async def ask(line: Admission, outcomes: Counter[str]) -> None:
        await asyncio.sleep(rng.uniform(0, 20))
        try:
            waiter = line.enter(rng.randrange(3), rng.choice("abc"), now_s() + rng.uniform(0.1, 30))
        except Refusal:
            outcomes["refused"] += 1
            return
        if waiter is not None:
            if rng.random() < 0.2:
                await asyncio.sleep(rng.uniform(0, 3))
                waiter.give_up()
                outcomes["gone"] += 1
                return
            try:
                await waiter.future
            except Refusal:
                outcomes["shed"] += 1
                return
        outcomes["now"] += 1
        assert outcomes["now"] <= places
        assert line.num_waiting <= room
        await asyncio.sleep(rng.uniform(0.1, 2))
        outcomes["now"] -= 1
        outcomes["answered"] += 1
        line.leave()

    async def play() -> None:
        line, outcomes = admission(places, room, wait_s=5.0), Counter[str]()
        await asyncio.gather(*(ask(line, outcomes) for _ in range(60)))
        assert (line.in_flight, line.num_waiting) == (0, 0)
        assert outcomes["answered"] + outcomes["refused"] + outcomes["shed"] + outcomes["gone"] == 60

    run(play())


def test_under_overload_equal_tenants_get_equal_parts_however_much_they_ask():
    async def play() -> Counter[str]:
        line, served = admission(4, 40, wait_s=5.0), Counter[str]()
        rng = random.Random(1)

        async def ask(tenant: str) -> None:
            try:
                waiter = line.enter(0, tenant, now_s() + 60)
                if waiter:
                    await waiter.future
            except Refusal:
                return
            served[tenant] += 1
            await asyncio.sleep(1.0)
            line.leave()

        tasks = []
        for _ in range(3000):  # 30 requests a second on 4 places of one second: ten to one from the greedy
            await asyncio.sleep(rng.expovariate(30))
            tasks.append(asyncio.create_task(ask("greedy" if rng.random() < 0.9 else "modest")))
        await asyncio.gather(*tasks)
        return served

    served = run(play())
    assert served["modest"] > 0.4 * sum(served.values())


@pytest.mark.parametrize(("header", "deadline_s"), [(None, 110.0), (b"2500", 102.5), (b"99999999", 110.0)])
def test_a_deadline_is_the_callers_or_the_services(header, deadline_s):
    assert deadline_of(header, 100.0, 10.0) == deadline_s


@pytest.mark.parametrize("header", [b"", b"0", b"-5", b"1.5", b"soon", b"9" * 13, "٣".encode()])
def test_a_deadline_that_is_none_is_refused(header):
    with pytest.raises(Refusal, match="milliseconds"):
        deadline_of(header, 100.0, 10.0)
