"""Callers who leave, in each phase, and those who read slowly or not at all; a full service; the gateway's own end."""

import asyncio
import itertools
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelyard.ports.serving import Queue, Timeouts
from tests.gateway.failing.engines import STREAM_HEAD, Asked, RawEngine, chunked, good, hang, piece, says
from tests.gateway.failing.live import PRIOR_KEY, SLOW_KEY, Live, code_of, events_of, service
from tests.gateway.harness import CHAT, KEY, eventually

ASK = {**CHAT, "stream": True}
LONG = Timeouts(connect_s=20, first_token_s=20, between_tokens_s=20)


def test_leaving_before_the_head(live: Live, raw: RawEngine) -> None:
    live.publish(service(raw.url, timeouts=LONG))
    raw.script = hang
    for body, left in ((CHAT, 1), (ASK, 2)):
        with live.connect(body):
            eventually(lambda left=left: len(raw.asked) == left)
        eventually(lambda left=left: raw.left == left)
    assert live.settled()
    entries = live.recorded(2)
    assert {(entry.status, entry.error, entry.completion_tokens) for entry in entries} == {(499, "client_gone", 0)}


def test_leaving_between_the_head_and_the_first_token(live: Live, raw: RawEngine) -> None:
    live.publish(service(raw.url, timeouts=LONG))

    async def script(asked: Asked) -> None:
        await asked.send(STREAM_HEAD)
        await asked.hang()

    raw.script = script
    with live.connect(ASK):
        eventually(lambda: raw.asked)
        time.sleep(0.05)
    eventually(lambda: raw.left == 1)
    (entry,) = live.recorded()
    assert (entry.status, entry.error) == (499, "client_gone")


def test_leaving_in_the_middle_of_a_stream_costs_what_was_heard(live: Live, raw: RawEngine) -> None:
    live.publish(service(raw.url, timeouts=LONG))

    async def script(asked: Asked) -> None:
        await asked.send(chunked(piece("I "), piece("am "), piece("here"), last=b""))
        await asked.hang()

    raw.script = script
    charged = live.tokens_charged()
    with live.connect(ASK) as sock:
        heard = b""
        while b"here" not in heard:
            heard += sock.recv(4096)
        assert live.leftovers()["concurrency"] == live.leftovers()["exchanges"] == 1
    eventually(lambda: raw.left == 1)
    assert live.settled()
    (entry,) = live.recorded()
    assert (entry.status, entry.error, entry.completion_tokens) == (499, "client_gone", 3)
    assert live.tokens_charged() - charged == entry.prompt_tokens + 3
    assert entry.cost_nanousd > 0


def test_leaving_after_the_last_byte_changes_nothing(live: Live, raw: RawEngine) -> None:
    live.publish(service(raw.url))
    with live.connect(ASK) as sock:
        heard = b""
        while not heard.endswith(b"0\r\n\r\n"):
            heard += sock.recv(4096)
    assert live.settled()
    (entry,) = live.recorded()
    assert (entry.status, entry.completion_tokens) == (200, 3)


def test_leaving_in_line_gives_the_place_to_another(live: Live, raw: RawEngine) -> None:
    live.publish(service(raw.url, timeouts=LONG, queue=Queue(max_in_flight=1, max_waiting=5, wait_s=10)))
    release = threading.Event()

    async def held(asked: Asked) -> None:
        await asyncio.to_thread(release.wait, 10)
        await asked.answer()

    raw.script = held
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(live.chat)
        eventually(lambda: len(raw.asked) == 1)
        with live.connect(CHAT):
            eventually(lambda: live.leftovers().get("line") == 1)
            second = pool.submit(live.chat)
            eventually(lambda: live.leftovers().get("line") == 2)
        eventually(lambda: live.leftovers().get("line") == 1)
        release.set()
        assert first.result().status_code == second.result().status_code == 200
    assert live.settled()
    assert [entry.status for entry in live.recorded(2)] == [200, 200]
    assert len(raw.asked) == 2
    assert live.listening.gateway.state.metrics.refused[499, "client_gone"] == 1


@pytest.mark.slow
def test_leaving_in_the_very_moment_of_the_answer(live: Live, raw: RawEngine) -> None:
    """Whatever comes first, each request is recorded once and nothing is left."""
    live.publish(service(raw.url))

    async def slowly(asked: Asked) -> None:
        await asyncio.sleep(0.005)
        await asked.answer()

    raw.script = slowly
    count = 120
    for number in range(count):
        sock = live.connect(ASK if number % 2 else CHAT)
        time.sleep(0.004 + number % 7 * 0.0005)
        sock.close()
    assert live.settled()
    entries = live.recorded(count)
    assert {entry.status for entry in entries} <= {200, 499}
    assert len({entry.id for entry in entries}) == count


def floods(sent: list[int], size: int = 1 << 16, count: int = 4000) -> Any:
    text = piece("x" * size)

    async def script(asked: Asked) -> None:
        await asked.send(STREAM_HEAD)
        for _ in range(count):
            await asked.send(b"%x\r\n%b\r\n" % (len(text), text))
            sent.append(size)
        await asked.hang()

    return script


@pytest.mark.slow
@pytest.mark.parametrize("behind_another", [False, True])
def test_a_client_that_reads_nothing_holds_the_engine_back_and_is_ended(
    fresh: Live, raw: RawEngine, behind_another: bool
) -> None:
    server = fresh.listening.server
    server.settings = msgspec.structs.replace(server.settings, write_s=2.0)
    fresh.publish(service(raw.url, timeouts=LONG))
    sent: list[int] = []
    scripts = itertools.chain([says(chunked(piece("y" * 6_000_000), piece("", "stop")))] * behind_another)

    async def script(asked: Asked) -> None:
        await next(scripts, floods(sent))(asked)

    raw.script = script
    with fresh.connect(ASK) as sock:
        if behind_another:
            body = msgspec.json.encode(ASK)
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
            sock.sendall(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
        eventually(lambda: sent)
        time.sleep(0.5)
        held = len(sent)
        time.sleep(0.5)
        assert len(sent) == held < 200
        eventually(lambda: raw.left == 1 or raw.open == 0, seconds=8)
        assert fresh.settled()
    entries = fresh.recorded(1 + behind_another)
    assert (entries[-1].status, entries[-1].error) == (499, "client_gone")
    raw.script = good
    assert fresh.chat().status_code == 200


@pytest.mark.slow
def test_a_client_that_reads_slowly_gets_all_of_it(live: Live, raw: RawEngine) -> None:
    live.publish(service(raw.url, timeouts=Timeouts(connect_s=5, first_token_s=5, between_tokens_s=0.3)))

    async def ends(asked: Asked) -> None:
        text = piece("x" * (1 << 16))
        await asked.send(STREAM_HEAD)
        for _ in range(150):
            await asked.send(b"%x\r\n%b\r\n" % (len(text), text))
        await asked.send(chunked(piece("", "stop"), b"data: [DONE]\n\n")[len(STREAM_HEAD) :])

    raw.script = ends
    with live.connect(ASK) as sock:
        time.sleep(1.0)
        heard = bytearray()
        while not heard.endswith(b"0\r\n\r\n"):
            heard += sock.recv(1 << 20)
    assert heard.count(b"x" * (1 << 16)) == 150
    assert [entry.status for entry in live.recorded()] == [200]


def test_a_full_service_sheds_the_least_important(live: Live, raw: RawEngine) -> None:
    live.publish(service(raw.url, timeouts=LONG, queue=Queue(max_in_flight=1, max_waiting=2, wait_s=10)))
    release = threading.Event()

    async def held(asked: Asked) -> None:
        await asyncio.to_thread(release.wait, 10)
        await asked.answer()

    raw.script = held
    with ThreadPoolExecutor(8) as pool:

        def ask(name: str, key: str, waiting: int) -> Any:
            job = pool.submit(live.chat, key=key, user=name)
            eventually(lambda: live.leftovers().get("line", 0) == waiting or job.done())
            return job

        first = ask("first", KEY, 0)
        eventually(lambda: len(raw.asked) == 1)
        mine, theirs = ask("mine", KEY, 1), ask("theirs", SLOW_KEY, 2)
        prior = pool.submit(live.chat, key=PRIOR_KEY, user="prior")
        shed = next(job for job in (mine, theirs) if eventually(lambda: mine.done() or theirs.done()) and job.done())
        assert (shed.result().status_code, code_of(shed.result())) == (503, "overloaded")
        assert int(shed.result().headers["retry-after"]) >= 1
        late = live.chat(key=SLOW_KEY, user="late", headers={"x-modelyard-deadline-ms": "50"})
        assert (late.status_code, code_of(late)) == (503, "overloaded")
        release.set()
        assert {job.result().status_code for job in (first, prior)} == {200}
    assert live.settled()
    assert [asked.json["user"] for asked in raw.asked][:2] == ["first", "prior"]


def test_a_place_that_does_not_come_free_in_time(live: Live, raw: RawEngine) -> None:
    live.publish(service(raw.url, timeouts=LONG, queue=Queue(max_in_flight=1, max_waiting=5, wait_s=0.2)))
    raw.script = hang
    with live.connect(CHAT):
        eventually(lambda: raw.asked)
        for headers in ({}, {"x-modelyard-deadline-ms": "100"}):
            began = time.monotonic()
            answer = live.chat(headers=headers)
            assert (answer.status_code, code_of(answer)) == (503, "overloaded")
            assert time.monotonic() - began < 1


@pytest.mark.slow
def test_draining_lets_answers_end_and_breaks_off_the_rest(tmp_path: Path, raw: RawEngine) -> None:
    async def script(asked: Asked) -> None:
        await asked.send(chunked(piece("I "), last=b""))
        if asked.json["user"] == "endless":
            await asked.hang()
        await asyncio.sleep(0.4)
        await asked.send(chunked(piece("am", "stop"), b"data: [DONE]\n\n")[len(STREAM_HEAD) :])

    raw.script = script
    gateway = Live(tmp_path)
    with gateway.open(drain_s=1.0), ThreadPoolExecutor(1) as pool:
        gateway.publish(service(raw.url, timeouts=LONG))
        short = pool.submit(gateway.chat, stream=True, user="short")
        with gateway.connect({**ASK, "user": "endless"}) as sock:
            eventually(lambda: gateway.leftovers().get("exchanges") == 2 and len(raw.asked) == 2)
            time.sleep(0.1)
            gateway.stop()
            assert events_of(short.result())[-1] == "[DONE]"
            eventually(lambda: raw.left == 1)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(sock.getpeername(), timeout=1)
        eventually(lambda: not gateway.leftovers())
    entries = gateway.recorded(2)
    assert sorted((entry.status, entry.error) for entry in entries) == [(200, ""), (499, "gateway_stopped")]
