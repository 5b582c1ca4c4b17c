"""The poller against a real server with a recorded page: what it learns, and how it treats slow and dead engines."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx

from modelyard.gateway.routing.engines import Load, Poller
from modelyard.gateway.routing.plan import Plan
from modelyard.gateway.routing.readings import METRIC_NAMES, Wanted
from modelyard.ports.serving import Preference
from tests.gateway.harness import serving
from tests.gateway.routing.tables import facts, service, table, variant

PAGE = (Path(__file__).parent / "pages" / "vllm-0.32.txt").read_bytes()
VLLM = Wanted(METRIC_NAMES["vllm"])


class Engine:
    """Serves a page at `/metrics`, as slowly as told, and counts who asks at once."""

    def __init__(self, *, delay_s: float = 0.0, status: int = 200) -> None:
        self.delay_s, self.status = delay_s, status
        self.now = self.most = self.asked = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self.delay_s)
        self.now -= 1
        status = self.status if scope["path"] == "/metrics" else 404
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": PAGE if status == 200 else b"no"})


@contextlib.asynccontextmanager
async def polling(interval_s: float = 0.05) -> AsyncIterator[Poller]:
    async with httpx.AsyncClient(timeout=5) as client:

        async def fetch(url: str) -> bytes:
            answer = await client.get(url)
            answer.raise_for_status()
            return answer.content

        poller = Poller(fetch, interval_s=interval_s)
        task = asyncio.create_task(poller.run())
        try:
            yield poller
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    end_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end_s
        await asyncio.sleep(0.01)


def test_a_choice_follows_what_a_real_page_says():
    async def run() -> None:
        with serving(Engine()) as url:
            preference = Preference(order=("int8", "champion"), max_queue=8)
            int8 = variant("int8", engine="vllm", engine_url=f"{url}/v1")
            plan = Plan(table(service(variants=(int8,), preference=preference)))
            route = plan.services["support"]
            async with polling() as poller:
                poller.watch(plan.watched)
                load = route.candidates["int8"].replicas.all[0].load
                assert list(plan.watched) == [load]
                await until(lambda: load.waiting == 14.0)
                assert (load.running, load.cache_use) == (3.0, 0.625)
            assert route.choose(facts(), time.monotonic()).reason == "champion: int8 queue 14 > 8"
            (state,) = plan.snapshot(time.monotonic())
            assert state.objections == ("int8 queue 14 > 8",)

    asyncio.run(run())


def test_a_slow_engine_is_asked_once_at_a_time_and_holds_no_other_up():
    async def run() -> None:
        slow, fast = Engine(delay_s=0.6), Engine()
        with serving(slow) as slow_url, serving(fast) as fast_url:
            async with polling() as poller:
                poller.watch({Load(slow_url): VLLM, Load(fast_url): VLLM})
                await until(lambda: slow.asked >= 2)
        assert slow.most == 1
        assert fast.asked >= 5

    asyncio.run(run())


def test_an_engine_that_fails_leaves_its_reading_to_go_stale():
    async def run() -> None:
        engine = Engine()
        with serving(engine) as url:
            load = Load(url)
            async with polling() as poller:
                poller.watch({load: VLLM})
                await until(lambda: load.waiting == 14.0)
                engine.status = 500
                await until(lambda: load.failed >= 2)
                fresh_until_s = load.fresh_until_s
                await until(lambda: load.failed >= 4)
                assert load.fresh_until_s == fresh_until_s
                engine.status = 200
                await until(lambda: load.failed == 0)
                assert load.fresh_until_s > fresh_until_s
                poller.watch({})
                await until(lambda: not load.busy)
                asked = engine.asked
                await asyncio.sleep(0.2)
                assert engine.asked == asked

    asyncio.run(run())


def test_a_dead_engine_stops_nothing_and_its_credentials_are_in_no_log(caplog):
    async def run() -> None:
        load = Load("http://user:secret@127.0.0.1:9")
        async with polling() as poller:
            poller.watch({load: VLLM})
            await until(lambda: load.failed >= 3)
        assert load.name == "127.0.0.1:9"

    asyncio.run(run())
    told = [record.getMessage() for record in caplog.records if record.name.startswith("modelyard")]
    assert told == ["the load of engine 127.0.0.1:9 cannot be read (ConnectError)"]


def test_many_engines_are_read_less_often():
    async def run() -> None:
        asked = 0

        async def fetch(_: str) -> bytes:
            nonlocal asked
            asked += 1
            return PAGE

        poller = Poller(fetch)
        loads = {Load(f"http://e{index}"): VLLM for index in range(400)}
        task = asyncio.create_task(poller.run())
        poller.watch(loads)
        await asyncio.sleep(0.5)
        task.cancel()
        assert 50 <= asked <= 150  # 200 a second, though 800 would be due, and no burst
        assert all(load.fresh_until_s == 0.0 or load.fresh_until_s > time.monotonic() + 3 for load in loads)

    asyncio.run(run())
