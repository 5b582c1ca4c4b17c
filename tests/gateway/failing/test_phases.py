"""Time limits of each phase, retries, fallbacks, breakers, hedging: what a slow or dead engine costs a caller."""

import asyncio
import socket
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from modelyard.ports.routes import Service, Variant
from modelyard.ports.serving import Breaker, Retries, Timeouts
from tests.gateway.failing.engines import (
    DONE,
    STREAM_HEAD,
    Asked,
    RawEngine,
    Script,
    chunked,
    good,
    hang,
    piece,
    says,
    whole,
)
from tests.gateway.failing.live import HASTY, Live, code_of, events_of, service
from tests.gateway.harness import eventually, variant

# Most of these wait for a time limit to run out.
pytestmark = pytest.mark.slow

DEAD = "http://127.0.0.1:9"
FAILS = whole(b'{"error":{"message":"no","code":"broken"}}', status=500)
WRONG = whole(b'{"error":{"message":"no","code":"wrong"}}', status=400)


def limited(retry_after: int) -> Script:
    return says(
        whole(b'{"error":{"message":"slow","code":"x"}}', status=429, headers=b"retry-after: %d\r\n" % retry_after)
    )


def twins(raw: RawEngine, other: RawEngine, **changes: Any) -> Service:
    """One variant at two addresses."""
    return service(raw.url, **{"champion": variant("champ", raw.url, replicas=(other.url,)), **changes})


def named(name: str, url: str) -> Variant:
    return msgspec.structs.replace(variant(name, url), name=name)


@pytest.fixture
def blackhole() -> Iterator[str]:
    """An address that takes no connection and refuses none: its backlog is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        yield f"http://127.0.0.1:{address[1]}"
        for filler in fillers:
            filler.close()


@pytest.mark.parametrize("stream", [False, True])
def test_no_connection(live: Live, blackhole: str, stream: bool) -> None:
    live.publish(service(blackhole))
    began = time.monotonic()
    answer = live.chat(stream=stream)
    assert (answer.status_code, code_of(answer)) == (504, "upstream_timeout")
    assert 0.4 < time.monotonic() - began < 1.5
    assert "no connection in 0.5 s" in answer.text
    live.recorded()


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n", STREAM_HEAD])
def test_no_first_token(live: Live, raw: RawEngine, sent: bytes) -> None:
    live.publish(service(raw.url))

    async def script(asked: Asked) -> None:
        await asked.send(sent)
        await asked.hang()

    raw.script = script
    answer = live.chat(stream=True)
    assert (answer.status_code, code_of(answer)) == (504, "upstream_timeout")
    eventually(lambda: raw.left == 1)
    (entry,) = live.recorded()
    assert 500 < entry.latency_ms < 1500


def test_none_between_two_tokens_and_the_total(live: Live, raw: RawEngine) -> None:
    async def stalls(asked: Asked) -> None:
        await asked.send(chunked(piece("I "), piece("am"), last=b""))
        await asked.hang()

    async def drips(asked: Asked) -> None:
        await asked.send(STREAM_HEAD)
        for _ in range(100):
            await asked.send(chunked(piece("x "), last=b"")[len(STREAM_HEAD) :])
            await asyncio.sleep(0.1)

    live.publish(service(raw.url, timeouts=Timeouts(connect_s=1, first_token_s=1, between_tokens_s=0.4, total_s=1.2)))
    latencies = []
    for script in (stalls, drips):
        raw.script = script
        events = events_of(live.chat(stream=True))
        assert "upstream_timeout" in events[-1]
        assert len(events) > 2
        entry = live.interactions()[-1]
        assert (entry.status, entry.error) == (504, "upstream_timeout")
        assert entry.completion_tokens == len(events) - 1
        latencies.append(entry.latency_ms)
    assert 350 < latencies[0] < 1000 < latencies[1] < 1800
    live.recorded(2)


def test_the_total_time_holds_for_all_attempts_together(fresh: Live, raw: RawEngine, other: RawEngine) -> None:
    raw.script = other.script = hang
    limits = Timeouts(connect_s=1, first_token_s=0.7, between_tokens_s=1, total_s=1)
    fresh.publish(twins(raw, other, timeouts=limits, retries=Retries(max=5, budget_floor=100)))
    began = time.monotonic()
    assert fresh.chat().status_code == 504
    assert time.monotonic() - began < 1.35
    assert len(raw.asked) == len(other.asked) == 1


def test_a_callers_deadline_holds_at_the_engine_and_is_no_fault_of_it(live: Live, raw: RawEngine) -> None:
    raw.script = hang
    live.publish(service(raw.url, breaker=Breaker(failures=1), timeouts=Timeouts()))
    began = time.monotonic()
    answer = live.chat(headers={"x-modelyard-deadline-ms": "300"})
    assert (answer.status_code, code_of(answer)) == (504, "deadline_exceeded")
    assert time.monotonic() - began < 1.0
    raw.script = good
    assert live.chat().status_code == 200


@pytest.mark.parametrize("script", [says(FAILS), says(b"", closes=True), says(b"junk"), hang, limited(1)])
@pytest.mark.parametrize("stream", [False, True])
def test_a_retry_goes_to_the_other_replica(
    live: Live, raw: RawEngine, other: RawEngine, script: Script, stream: bool
) -> None:
    # The budget is the service's, whatever table it stands in: the tests before have spent of it.
    live.publish(twins(raw, other, retries=Retries(budget_floor=100)))
    raw.script = script
    for _ in range(3):
        assert live.chat(stream=stream).status_code == 200
    assert live.settled()
    assert {entry.status for entry in live.recorded(3)} == {200}


def test_nothing_is_retried_after_the_first_byte(live: Live, raw: RawEngine, other: RawEngine) -> None:
    live.publish(twins(raw, other))
    raw.script = other.script = says(chunked(piece("I "), last=b""), closes=True)
    assert "upstream_cut" in live.chat(stream=True).text
    assert len(raw.asked) + len(other.asked) == 1


def test_retries_stay_within_their_budget(fresh: Live, raw: RawEngine, other: RawEngine) -> None:
    fresh.publish(twins(raw, other, retries=Retries(max=3, budget_share=0.1, budget_floor=2)))
    raw.script = other.script = says(FAILS)
    for _ in range(20):
        assert fresh.chat().status_code == 500
    assert 22 <= len(raw.asked) + len(other.asked) <= 25


def test_fallbacks_answer_in_their_order_and_the_champion_last(live: Live, raw: RawEngine, other: RawEngine) -> None:
    def fails(*names: str) -> Script:
        async def script(asked: Asked) -> None:
            await (asked.send(FAILS) if asked.json["model"] in names else asked.answer())

        return script

    live.publish(
        service(
            raw.url,
            challenger=variant("chall", raw.url),
            weight_bp=10_000,
            variants=(named("one", raw.url), named("two", other.url)),
            fallbacks=("one", "two"),
        )
    )
    charged = live.tokens_charged()
    for names, last in ((("chall",), "one"), (("chall", "one"), "two"), (("chall", "one", "two"), "champ")):
        before = len(live.interactions())
        raw.script = other.script = fails(*names)
        assert live.chat().status_code == 200
        entries = live.recorded(before + len(names) + 1)[before:]
        assert [entry.release for entry in entries] == [f"sha256:{name}" for name in (*names, last)]
        assert [entry.status for entry in entries] == [500] * len(names) + [200]
        assert entries[-1].reason == "fallback after upstream_500"
    raw.script = other.script = says(FAILS)
    answer = live.chat()
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "broken")
    assert live.tokens_charged() - charged == 3 * 14


@pytest.mark.parametrize("stream", [False, True])
def test_a_challenger_that_fails_is_recorded_beside_the_champion(live: Live, raw: RawEngine, stream: bool) -> None:
    live.publish(service(raw.url, challenger=variant("chall", DEAD), weight_bp=10_000))
    assert live.chat(stream=stream).status_code == 200
    failed, entry = live.recorded(2)
    assert (failed.role, failed.status, failed.error) == ("challenger", 502, "upstream_unavailable")
    assert (entry.role, entry.status) == ("champion", 200)


def test_a_breaker_opens_tries_once_and_closes(live: Live, raw: RawEngine) -> None:
    live.publish(service(raw.url, breaker=Breaker(failures=5, error_share=1.0, open_s=0.5)))
    raw.script = says(WRONG)
    assert {live.chat().status_code for _ in range(8)} == {400}
    raw.script = says(FAILS)
    assert [live.chat().status_code for _ in range(5)] == [500] * 5
    asked = len(raw.asked)
    refused = live.chat()
    assert (refused.status_code, code_of(refused)) == (503, "upstream_unavailable")
    assert int(refused.headers["retry-after"]) == 1
    assert len(raw.asked) == asked
    time.sleep(0.55)
    assert live.chat().status_code == 500
    assert live.chat().status_code == 503
    assert len(raw.asked) == asked + 1
    time.sleep(1.1)
    raw.script = good
    assert [live.chat().status_code for _ in range(3)] == [200] * 3


def test_callers_who_leave_neither_open_nor_close_a_breaker(live: Live, raw: RawEngine) -> None:
    live.publish(service(raw.url, breaker=Breaker(failures=2, error_share=1.0, open_s=0.3), timeouts=Timeouts()))
    replica = (
        live.listening.gateway.state.table.routes.services["support"].chooser.candidates["champion"].replicas.all[0]
    )

    def leave() -> None:
        left = raw.left
        raw.script = hang
        with live.connect({"model": "support", "messages": [{"role": "user", "content": "x"}]}):
            count = len(raw.asked)
            eventually(lambda: len(raw.asked) > count or live.leftovers().get("engines"))
            time.sleep(0.05)
        eventually(lambda: raw.left > left)

    raw.script = says(FAILS)
    live.chat()
    leave()
    raw.script = says(FAILS)
    live.chat()
    assert replica.circuit.state == "open"
    time.sleep(0.35)
    leave()
    assert replica.circuit.state == "trying"
    raw.script = good
    assert live.chat().status_code == 200
    assert replica.circuit.state == "closed"


def test_an_outlier_is_left_alone(live: Live, raw: RawEngine, other: RawEngine) -> None:
    breaker = Breaker(failures=0, error_share=0.5, min_requests=6, open_s=5)
    live.publish(twins(raw, other, breaker=breaker, retries=Retries(max=1, budget_floor=1000)))

    async def often(asked: Asked) -> None:
        await (asked.answer() if len(raw.asked) % 3 == 0 else asked.send(FAILS))

    raw.script = often
    for _ in range(40):
        assert live.chat(messages=[{"role": "user", "content": f"{time.monotonic()}"}]).status_code == 200
    asked = len(raw.asked)
    assert asked < 20
    for _ in range(5):
        live.chat(messages=[{"role": "user", "content": f"{time.monotonic()}"}])
    assert len(raw.asked) == asked


def test_an_engine_that_asks_for_a_pause_gets_it(live: Live, raw: RawEngine) -> None:
    live.publish(service(raw.url))
    raw.script = limited(1)
    answer = live.chat()
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    raw.script = good
    assert live.chat().status_code == 503
    assert len(raw.asked) == 1
    time.sleep(1.05)
    assert live.chat().status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_hedge_wins_and_the_loser_is_stopped(live: Live, raw: RawEngine, other: RawEngine, stream: bool) -> None:
    live.publish(twins(raw, other, hedge_after_s=0.1, timeouts=Timeouts()))
    raw.script = hang
    for number in range(8):
        answer = live.chat(stream=stream, messages=[{"role": "user", "content": f"{number}"}])
        assert answer.status_code == 200
        assert "champ" in answer.text
        assert live.settled()
    entries = live.recorded(8)
    assert {(entry.status, entry.replica) for entry in entries} == {(200, other.url.removeprefix("http://"))}
    hedged = [entry for entry in entries if entry.reason.endswith("hedged")]
    assert hedged
    eventually(lambda: raw.left == len(raw.asked) == len(hedged))
    assert all(entry.overhead_us < 50_000 for entry in hedged)


def test_hedges_that_all_fail_and_callers_who_leave_them(live: Live, raw: RawEngine, other: RawEngine) -> None:
    live.publish(twins(raw, other, hedge_after_s=0.05, retries=Retries(max=0), timeouts=HASTY))
    raw.script = other.script = hang
    assert live.chat().status_code == 504
    assert live.settled()
    eventually(lambda: raw.left + other.left == 2)
    with live.connect({"model": "support", "messages": [{"role": "user", "content": "x"}]}):
        eventually(lambda: live.leftovers().get("engines") == 2)
        eventually(lambda: len(raw.asked) + len(other.asked) == 4)
    eventually(lambda: raw.left + other.left == 4)
    assert live.settled()
    assert [entry.status for entry in live.recorded(2)] == [504, 499]


def test_an_engine_that_dies_in_the_middle_and_one_that_comes_back(live: Live, raw: RawEngine) -> None:
    live.publish(service(raw.url, retries=Retries(max=2)))

    async def dies(asked: Asked) -> None:
        await asked.send(chunked(piece("I "), piece("am"), last=b""))
        await asyncio.sleep(0.05)
        asked.reset()

    raw.script = dies
    assert "upstream_cut" in events_of(live.chat(stream=True))[-1]
    raw.script = says(chunked(piece("x", "stop"), DONE))
    assert events_of(live.chat(stream=True))[-1] == "[DONE]"
    assert [entry.status for entry in live.recorded(2)] == [502, 200]
