"""Two and three gateway processes that share one Redis: budgets hold, nothing counts twice, whoever is killed."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

from modelyard.ports.limits import Limits
from modelyard.ports.routes import Service
from tests.gateway.accounts.harness import WHOLE, Accounts, acme, costs
from tests.gateway.harness import AUTH, CHAT, eventually, variant
from tests.gateway.limits.harness import RedisServer
from tests.gateway.upstream import Engine

CLIENTS = 20


class Fleet:
    """Some gateways with one table and one journal, and clients that spend through all of them."""

    def __init__(self, folder: Path, engine_url: str, budget: int) -> None:
        self.first = Accounts(folder)
        self.first.offer(
            Service(name="support", champion=variant("champ", engine_url)),
            tenants=(acme(limits=Limits(daily_nanousd=budget)),),
        )
        self.folder = folder
        self.urls: list[str] = []
        self.statuses: list[int] = []

    @contextmanager
    def spawn(self, count: int, mode: str = "local") -> Iterator[list[object]]:
        with ExitStack() as stack:
            yards = [Accounts(self.folder) for _ in range(count)]
            flags = ("--redis", "YARD_REDIS", "--on-redis-down", mode)
            processes = [stack.enter_context(yard.spawn(*flags)) for yard in yards]
            self.urls = [yard.url for yard in yards]
            for url in self.urls:
                eventually(lambda: httpx.get(f"{url}/ready").status_code == 200)  # noqa: B023
            yield processes  # type: ignore[misc]
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(30)

    def race(self, seconds: float = 20.0, *, until_refused: bool = True, max_tokens: int = 3) -> list[threading.Thread]:
        end = time.monotonic() + seconds

        def call(number: int) -> None:
            with httpx.Client(headers=AUTH, timeout=10) as client:
                while time.monotonic() < end:
                    url = self.urls[number % len(self.urls)]
                    with contextlib.suppress(httpx.TransportError):
                        asked = {**CHAT, "max_tokens": max_tokens}
                        status = client.post(f"{url}/v1/chat/completions", json=asked).status_code
                        self.statuses.append(status)
                        if status == 429 and until_refused:
                            return

        threads = [threading.Thread(target=call, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        return threads

    @property
    def total(self) -> int:
        return costs(self.first.interactions())


@pytest.fixture
def fleet(tmp_path: Path, engine: Engine, engine_url: str, redis_server: RedisServer, monkeypatch: object) -> Fleet:
    monkeypatch.setenv("YARD_REDIS", redis_server.url)  # type: ignore[attr-defined]
    engine.delay_s = 0.02
    return Fleet(tmp_path, engine_url, 150 * WHOLE)


def used(redis_server: RedisServer) -> int:
    return redis_server.used("t:acme")["dused"]


@pytest.mark.long
@pytest.mark.parametrize("count", [2, 3])
def test_twenty_clients_never_overspend_what_is_reserved(fleet: Fleet, redis_server: RedisServer, count: int) -> None:
    with fleet.spawn(count):
        for thread in fleet.race():
            thread.join()
    assert set(fleet.statuses) == {200, 429}
    assert (150 - 2 * CLIENTS) * WHOLE <= fleet.total <= 150 * WHOLE
    assert used(redis_server) == fleet.total
    assert redis_server.running("t:acme") == 0


@pytest.mark.long
def test_with_too_little_reserved_the_requests_in_flight_overspend_and_no_more(
    fleet: Fleet, redis_server: RedisServer, engine: Engine
) -> None:
    """The engine's words cost more than the one token that is reserved."""
    engine.say["champ"] = "word " * 400
    with fleet.spawn(3):
        for thread in fleet.race(max_tokens=1):
            thread.join()
    assert 150 * WHOLE - 2 * WHOLE <= fleet.total <= 150 * WHOLE + CLIENTS * WHOLE
    assert used(redis_server) == fleet.total


@pytest.mark.long
def test_a_gateway_killed_in_the_middle(fleet: Fleet, redis_server: RedisServer) -> None:
    with fleet.spawn(3) as processes:
        threads = fleet.race()
        eventually(lambda: fleet.total > 30 * WHOLE)
        processes[0].kill()  # type: ignore[attr-defined]
        fleet.urls[0] = fleet.urls[1]
        for thread in threads:
            thread.join()
    assert fleet.total <= 150 * WHOLE
    with fleet.spawn(1):
        # The dead one's journal is looked through, and its mark taken away; the living one has its own.
        eventually(lambda: len(list(fleet.first.journal.glob("*.limits"))) == 1)
    held = redis_server.running("t:acme")
    assert held <= CLIENTS
    # What the dead one held is held until its leases end; what it journaled is counted, once.
    assert fleet.total <= used(redis_server) <= fleet.total + held * 2 * WHOLE
    assert (held > 0) == (used(redis_server) > fleet.total)


@pytest.mark.long
@pytest.mark.parametrize("mode", ["local", "open", "closed"])
def test_redis_killed_and_restarted_in_the_middle(fleet: Fleet, redis_server: RedisServer, mode: str) -> None:
    with fleet.spawn(2, mode):
        threads = fleet.race(4.0, until_refused=False)
        eventually(lambda: fleet.total > 20 * WHOLE)
        redis_server.stop()
        time.sleep(0.5)
        fleet.statuses.clear()
        time.sleep(0.5)
        during = set(fleet.statuses)
        redis_server.start()
        for thread in threads:
            thread.join()
    assert during <= {"local": {200, 429}, "open": {200}, "closed": {503}}[mode]
    assert during
    if mode == "closed":
        assert fleet.total <= 150 * WHOLE
    assert used(redis_server) == fleet.total
    assert redis_server.running("t:acme") == 0


def test_who_leaves_while_redis_is_asked_holds_nothing(
    tmp_path: Path, engine_url: str, redis_server: RedisServer
) -> None:
    """Redis stands still while callers come and go; then it goes on."""
    yard = Accounts(tmp_path)
    limits = Limits(daily_nanousd=10**12, tokens_per_minute=10**6, concurrency=100)
    with yard.open(redis_url=redis_server.url) as live:
        live.offer(Service(name="support", champion=variant("champ", engine_url)), tenants=(acme(limits=limits),))
        assert live.ask().status_code == 200
        assert redis_server.process is not None
        gateway = live.listening.gateway
        shared = gateway.state.permits.shared
        assert shared is not None
        shared.settings = msgspec.structs.replace(shared.settings, timeout_s=60.0)
        # What is on its way to Redis went out with the short limit: once it is over, only the long one holds.
        eventually(lambda: used(redis_server) == WHOLE and shared.waiting == 0)
        body = json.dumps(CHAT).encode()
        lines = f"host: x\r\nauthorization: {AUTH['authorization']}\r\ncontent-length: {len(body)}\r\n\r\n"
        os.kill(redis_server.process.pid, signal.SIGSTOP)
        try:
            callers = [socket.create_connection(("127.0.0.1", int(live.url.rpartition(":")[2]))) for _ in range(3)]
            for caller in callers:
                caller.sendall(f"POST /v1/chat/completions HTTP/1.1\r\n{lines}".encode() + body)
            eventually(lambda: len(gateway._exchanges.going_on) == 3, seconds=3)
            for caller in callers:
                caller.close()
            eventually(lambda: not gateway._exchanges.going_on, seconds=3)
        finally:
            os.kill(redis_server.process.pid, signal.SIGCONT)
        assert live.ask().status_code == 200
        eventually(lambda: shared.waiting == 0 and redis_server.running("t:acme") == 0, seconds=5)
        assert costs(live.interactions()) == used(redis_server) == 2 * WHOLE
        held = redis_server.used("t:acme")
        assert held["tokens"] + held["before"] == 28
