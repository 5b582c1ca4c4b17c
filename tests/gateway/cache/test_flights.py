"""Equal requests at once: one goes to the engine, and nobody's leaving or failing is another's."""

import asyncio

import pytest

from modelyard.gateway.cache import Plan, ServiceCache
from modelyard.gateway.cache.flights import Flight
from tests.gateway.cache.answers import CHAT, NEW, a_cache, planned, whole


class Engine:
    """Answers when `go_on` is set; counts its requests."""

    def __init__(self, *, reason: str = "stop") -> None:
        self.requests = 0
        self.reason = reason
        self.go_on = asyncio.Event()

    async def ask(self) -> None:
        self.requests += 1
        await self.go_on.wait()


async def answer(cache: ServiceCache, engine: Engine, timeout_s: float = 5.0) -> bytes:
    """A request as the gateway's flow makes it."""
    plan = planned(cache)
    for _ in range(100):
        if hit := cache.lookup(plan):
            return hit.body(NEW)
        flight = cache.join(plan)
        if flight is None:
            return await _go(cache, plan, engine)
        if not await flight.wait(timeout_s):
            break
    await engine.ask()
    return b"alone"


async def _go(cache: ServiceCache, plan: Plan, engine: Engine) -> bytes:
    again = True
    try:
        await engine.ask()
        again = cache.store(plan, whole(reason=engine.reason))
    finally:
        cache.land(plan, again=again)
    return b"first"


async def until(engine: Engine, requests: int) -> None:
    while engine.requests < requests:  # noqa: ASYNC110
        await asyncio.sleep(0)


def test_one_asks_and_all_are_answered() -> None:
    async def play() -> list[bytes]:
        cache, engine = a_cache(), Engine()
        tasks = [asyncio.create_task(answer(cache, engine)) for _ in range(20)]
        await until(engine, 1)
        engine.go_on.set()
        answers = await asyncio.gather(*tasks)
        assert (engine.requests, cache.stats.exact_hits) == (1, 19)
        return answers

    first, *others = asyncio.run(play())
    assert first == b"first"
    assert all(NEW.encode() in other for other in others)


def test_the_first_one_leaving_sends_the_next_and_no_more() -> None:
    async def play() -> None:
        cache, engine = a_cache(), Engine()
        tasks = [asyncio.create_task(answer(cache, engine)) for _ in range(10)]
        await until(engine, 1)
        tasks[0].cancel()
        await until(engine, 2)
        engine.go_on.set()
        first, *others = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(first, asyncio.CancelledError)
        assert [one for one in others if one == b"first"] == [b"first"]
        assert sum(NEW.encode() in one for one in others if isinstance(one, bytes)) == 8
        assert engine.requests == 2

    asyncio.run(play())


def test_one_that_waits_and_leaves_takes_nothing_from_the_others() -> None:
    async def play() -> None:
        cache, engine = a_cache(), Engine()
        tasks = [asyncio.create_task(answer(cache, engine)) for _ in range(5)]
        await until(engine, 1)
        tasks[2].cancel()
        await asyncio.sleep(0)
        engine.go_on.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(one, asyncio.CancelledError) for one in found] == [False, False, True, False, False]
        assert engine.requests == 1

    asyncio.run(play())


@pytest.mark.parametrize("reason", ["content_filter", "tool_calls"])
def test_an_answer_that_may_not_be_given_twice_sends_everyone_at_once(reason: str) -> None:
    async def play() -> None:
        cache, engine = a_cache(), Engine(reason=reason)
        tasks = [asyncio.create_task(answer(cache, engine)) for _ in range(5)]
        await until(engine, 1)
        engine.go_on.set()
        assert sorted(await asyncio.gather(*tasks)) == [b"alone"] * 4 + [b"first"]
        assert engine.requests == 5

    asyncio.run(play())


def test_nobody_waits_longer_than_it_may() -> None:
    async def play() -> None:
        cache, engine = a_cache(), Engine()
        first = asyncio.create_task(answer(cache, engine))
        await until(engine, 1)
        second = asyncio.create_task(answer(cache, engine, timeout_s=0.01))
        await until(engine, 2)
        engine.go_on.set()
        assert [await first, await second] == [b"first", b"alone"]

    asyncio.run(play())


def test_who_asks_for_a_new_answer_or_for_a_stream_waits_for_nobody_and_wakes_nobody() -> None:
    async def play() -> None:
        cache, engine = a_cache(), Engine()
        tasks = [asyncio.create_task(answer(cache, engine)) for _ in range(2)]
        await until(engine, 1)
        for other in (planned(cache, control=b"no-cache"), planned(cache, CHAT | {"stream": True})):
            assert cache.join(other) is None
            cache.land(other, again=False)
        await asyncio.sleep(0)
        engine.go_on.set()
        await asyncio.gather(*tasks)
        assert engine.requests == 1

    asyncio.run(play())


def test_waiting_needs_no_task() -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[bool] = loop.create_future()
        waiting = Flight().wait(0.01)

        def step(_: object = None) -> None:
            try:
                future = waiting.send(None)
            except StopIteration as end:
                ended.set_result(end.value)
            else:
                future._asyncio_future_blocking = False
                future.add_done_callback(step)

        loop.call_soon(step)
        assert await ended is False

    asyncio.run(play())
