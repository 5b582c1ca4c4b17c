"""However a request ends, its reservation is given back once and what it used is charged once."""

import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelyard.core.files import write_atomically
from modelyard.ports.kills import Kill, encode_kills
from modelyard.ports.routes import Service
from modelyard.ports.serving import Cache, Filter, Queue, Timeouts
from tests.gateway.accounts.harness import AMPLE, WHOLE, Accounts, acme, key, named
from tests.gateway.harness import AUTH, CHAT, eventually, variant
from tests.gateway.upstream import Engine

HASTY = Timeouts(connect_s=5, first_token_s=0.5, between_tokens_s=0.3)


def offer(live: Accounts, url: str, **changes: Any) -> None:
    service = Service(**{"name": "support", "champion": variant("champ", url), "timeouts": HASTY, **changes})
    tenant = acme(limits=AMPLE, user_limits=AMPLE)
    live.offer(service, tenants=(tenant,), keys=(key(limits=AMPLE),))


def statuses(live: Accounts) -> list[int]:
    return [entry.status for entry in live.interactions()]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "status"),
    [("", 200), ("400", 400), ("429", 429), ("500", 500), ("html", 500), ("garbage", 502), ("hang", 504)],
)
def test_an_answer_or_an_error(
    live: Accounts, engine: Engine, engine_url: str, fault: str, status: int, stream: bool
) -> None:
    engine.fault["champ"] = fault
    offer(live, engine_url)
    answer = live.ask(stream=stream)
    assert answer.status_code == status or (fault == "garbage" and stream)
    # The prompt alone, and the prompt with three words.
    assert live.settled()["day_spent"] == (WHOLE if status == 200 else 0)
    assert live.settled("k:key-1") == live.settled()


@pytest.mark.parametrize("fault", ["cut", "stall", "first_error", "error_event", "no_done"])
def test_a_stream_that_goes_wrong(live: Accounts, engine: Engine, engine_url: str, fault: str) -> None:
    engine.fault["champ"] = fault
    offer(live, engine_url)
    live.ask(stream=True)
    entries = live.interactions(1)
    assert len(entries) == 1
    live.settled()


def test_a_fallback(live: Accounts, engine: Engine, engine_url: str) -> None:
    engine.fault["champ"] = "500"
    offer(live, engine_url, variants=(named("spare", engine_url),), fallbacks=("spare",))
    assert live.ask().status_code == 200
    assert statuses(live) == [500, 200]
    assert live.settled()["day_spent"] == WHOLE


def test_a_fallback_after_an_answer_that_cost_something(live: Accounts, engine: Engine, engine_url: str) -> None:
    """The challenger's answer is refused by a filter: it was made, and is charged, and so is the champion's."""
    engine.say["chall"] = "bad words"
    offer(
        live,
        engine_url,
        challenger=variant("chall", engine_url),
        weight_bp=10_000,
        filters=(Filter(kind="deny", on="answer", options={"words": "bad"}),),
    )
    assert live.ask().status_code == 200
    assert [(entry.role, entry.status) for entry in live.interactions()] == [("challenger", 400), ("champion", 200)]
    assert live.settled()["day_spent"] == 2 * WHOLE


def test_a_retry_on_another_replica(live: Accounts, engine: Engine, engine_url: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}"
        offer(live, engine_url, champion=variant("champ", dead, replicas=(engine_url,)))
        number = 0
        while live.metric("retries_total") < 1:
            # Each in a session of its own, which goes to a replica of its own.
            assert live.ask(headers={"x-modelyard-session": str(number)}).status_code == 200
            number += 1
            assert number < 50
    assert live.settled()["day_spent"] == number * WHOLE


@pytest.mark.parametrize("stream", [False, True])
def test_a_hedge(live: Accounts, engine: Engine, engine_url: str, stream: bool) -> None:
    engine.delay_s = 0.2
    other = engine_url.replace("127.0.0.1", "localhost")
    offer(live, engine_url, champion=variant("champ", engine_url, replicas=(other,)), hedge_after_s=0.05)
    assert live.ask(stream=stream).status_code == 200
    assert live.settled()["day_spent"] == WHOLE
    assert live.metric('hedges_total{service="support",outcome="sent"}') == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_that_leaves(live: Accounts, engine: Engine, engine_url: str, stream: bool) -> None:
    engine.fault["champ"] = "stall" if stream else "hang"
    offer(live, engine_url, timeouts=Timeouts())
    with httpx.Client(headers=AUTH, timeout=0.5) as client, pytest.raises(httpx.TimeoutException):
        client.post(f"{live.url}/v1/chat/completions", json={**CHAT, "stream": stream})
    eventually(lambda: statuses(live) == [499])
    live.settled()
    assert live.metric("clients_gone_total") == 1
    eventually(lambda: engine.left == 1)


@pytest.mark.parametrize("kind", ["key", "tenant", "service", "all"])
def test_a_kill_in_the_middle(live: Accounts, engine: Engine, engine_url: str, kind: Any) -> None:
    engine.fault["champ"] = "stall"
    offer(live, engine_url, timeouts=Timeouts())
    name = {"key": "key-1", "tenant": "acme", "service": "support", "all": ""}[kind]
    with httpx.stream("POST", f"{live.url}/v1/chat/completions", json={**CHAT, "stream": True}, headers=AUTH) as answer:
        lines = answer.iter_lines()
        next(lines)
        write_atomically(live.table.with_name("kills.json"), encode_kills((Kill(kind=kind, name=name),)))
        assert any("killed" in line for line in lines)
    assert live.ask().status_code == 403
    assert statuses(live) == [403]
    live.settled()
    assert live.metric(f'killed_total{{scope="{kind}"}}') == 2


def test_a_filter_s_refusal(live: Accounts, engine_url: str) -> None:
    offer(live, engine_url, filters=(Filter(kind="deny", options={"words": "hello"}),))
    assert live.ask().status_code == 400
    assert live.settled()["tokens"] == 0
    assert live.metric('filtered_total{service="support",filter="deny"') == 1


def test_a_stream_that_a_filter_ends(live: Accounts, engine: Engine, engine_url: str) -> None:
    engine.say["champ"] = "good good bad good"
    offer(live, engine_url, filters=(Filter(kind="deny", on="answer", options={"words": "bad"}),))
    assert "content_filter" in live.ask(stream=True).text
    assert len(live.interactions(1)) == 1
    live.settled()


def test_hits_of_the_cache_cost_nothing(live: Accounts, engine: Engine, engine_url: str) -> None:
    offer(live, engine_url, cache=Cache())
    for _ in range(3):
        assert live.ask(temperature=0).status_code == 200
    assert len(engine.requests) == 1
    assert live.settled()["day_spent"] == WHOLE
    assert [entry.cache for entry in live.interactions()] == ["", "exact", "exact"]
    assert live.metric("cache_hits_total") == 2
    assert live.metric("saved_nanousd_total") == 2 * WHOLE


def test_who_is_turned_away_in_line(live: Accounts, engine: Engine, engine_url: str) -> None:
    engine.delay_s = 0.4
    offer(live, engine_url, queue=Queue(max_in_flight=1, max_waiting=1, wait_s=0.1), timeouts=Timeouts())
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(live.ask().status_code)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [200, 503, 503, 503]
    assert live.settled()["day_spent"] == WHOLE
    assert live.metric("queue_shed_total") == 3


def test_who_leaves_while_in_line(live: Accounts, engine: Engine, engine_url: str) -> None:
    engine.delay_s = 0.6
    offer(live, engine_url, queue=Queue(max_in_flight=1), timeouts=Timeouts())
    thread = threading.Thread(target=live.ask)
    thread.start()
    eventually(lambda: engine.requests)
    with pytest.raises(httpx.TimeoutException):
        httpx.post(f"{live.url}/v1/chat/completions", json=CHAT, headers=AUTH, timeout=0.2)
    thread.join()
    assert live.settled()["day_spent"] == WHOLE
    assert len(engine.requests) == 1


def test_a_drain_that_breaks_off(tmp_path: Path, engine: Engine, engine_url: str) -> None:
    """What the process had charged at its end is what the next one begins with."""
    engine.fault["champ"] = "stall"
    yard = Accounts(tmp_path)
    with yard.open(drain_s=0.3) as live:
        offer(live, engine_url, timeouts=Timeouts())
        with httpx.stream(
            "POST", f"{live.url}/v1/chat/completions", json={**CHAT, "stream": True}, headers=AUTH
        ) as answer:
            lines = answer.iter_lines()
            next(lines)
            live.loop.call_soon_threadsafe(live.listening.server.stop)
            with pytest.raises(httpx.RemoteProtocolError):
                list(lines)
    assert [(entry.status, entry.error) for entry in yard.interactions()] == [(499, "gateway_stopped")]
    cost = yard.interactions()[0].cost_nanousd
    with yard.open() as live:
        eventually(lambda: live.account()["day_used"] == cost)
        assert live.account()["in_flight"] == 0


@pytest.mark.slow
def test_many_at_once_that_end_in_every_way(live: Accounts, engine: Engine, engine_url: str) -> None:
    """A few hundred requests with faults, streams and callers that leave: nothing stays reserved, sums are equal."""
    services = [
        Service(name=name, champion=variant(model, engine_url), timeouts=HASTY)
        for name, model in (("support", "champ"), ("cut", "cut"), ("bad", "bad"), ("slow", "slow"))
    ]
    engine.fault = {"cut": "cut", "bad": "500", "slow": "hang"}
    live.offer(*services, tenants=(acme(limits=AMPLE, user_limits=AMPLE),), keys=(key(limits=AMPLE),))

    def call(number: int) -> None:
        body = {**CHAT, "user": f"u{number % 3}"}
        with httpx.Client(headers=AUTH, base_url=live.url, timeout=0.4 if number % 2 else 5) as client:
            for turn in range(20):
                model = ("support", "cut", "bad", "slow")[turn % 4]
                try:
                    asked = {**body, "model": model, "stream": turn % 3 == 0}
                    client.post("/v1/chat/completions", json=asked)
                except httpx.HTTPError:
                    time.sleep(0.001)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = live.settled()
    assert live.settled("k:key-1") == total
    users = live.look(lambda permits: [scope.decode() for scope in permits.subjects.accounts if scope[:2] == b"u:"])
    assert len(users) == 3
    assert sum(live.account(user)["day_spent"] for user in users) == total["day_spent"]
