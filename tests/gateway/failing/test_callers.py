"""Callers that misbehave, through the whole gateway: what they are told, what engines get, what is left: nothing."""

import contextlib
import json
import socket
import time
from typing import Any

import httpx
import msgspec
import pytest

from modelyard.ports.limits import Limits, Tenant
from tests.gateway.failing.engines import Asked, RawEngine
from tests.gateway.failing.live import Live, code_of, service
from tests.gateway.harness import AUTH, KEY

MESSAGES = b'"messages":[{"role":"user","content":"hello"}]'
BASE = b'{"model":"support",%b' % MESSAGES


@pytest.fixture(autouse=True)
def published(live: Live, raw: RawEngine) -> None:
    live.publish(service(raw.url))


def send(live: Live, body: bytes, **headers: str) -> httpx.Response:
    return httpx.post(f"{live.url}/v1/chat/completions", content=body, headers={**AUTH, **headers}, timeout=20)


def bare(live: Live) -> socket.socket:
    host, port = live.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


REFUSED: dict[str, bytes] = {
    "no JSON": b"hello",
    "empty": b"",
    "half": BASE,
    "a list": b"[]",
    "deep": BASE + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep messages": b'{"model":"support","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "NaN": BASE + b',"temperature":NaN}',
    "NaN in an unknown field": BASE + b',"x":NaN}',
    "Infinity": BASE + b',"top_p":-Infinity}',
    "negative max_tokens": BASE + b',"max_tokens":-1}',
    "negative max_completion_tokens": BASE + b',"max_completion_tokens":-5}',
    "max_tokens as text": BASE + b',"max_tokens":"9"}',
    "broken max_tokens": BASE + b',"max_tokens":1.5}',
    "n of 0": BASE + b',"n":0}',
    "invalid UTF-8": BASE + b',"user":"\xff\xfe"}',
    "invalid UTF-8 in an unknown field": BASE + b',"x":"\xc3\x28"}',
    "half a surrogate": BASE + b',"user":"\\ud800"}',
    "no messages": b'{"model":"support","messages":[]}',
    "a message that is none": b'{"model":"support","messages":[1]}',
    "two values": BASE + b"}{}",
    "NUL": BASE + b"}\0",
}


@pytest.mark.parametrize("case", REFUSED)
def test_requests_that_are_none(live: Live, raw: RawEngine, case: str) -> None:
    answer = send(live, REFUSED[case])
    assert answer.status_code == 400
    assert code_of(answer)
    assert answer.headers["x-request-id"]
    assert live.settled()
    assert raw.asked == []
    assert live.interactions() == []
    assert live.chat().status_code == 200


ACCEPTED: dict[str, bytes] = {
    "unknown fields": BASE + b',"x":{"y":[1e400,1.10,"\\u00e9",null]}}',
    "10,000 messages": b'{"model":"support","messages":[%b]}' % b",".join([b'{"role":"user","content":"hi"}'] * 10_000),
    "a long name": BASE + b',"%b":1}' % (b"x" * 100_000),
    "spaces": b"\r\n\t " + BASE + b" }\r\n ",
    "a big number": BASE + b',"seed":123456789012345678901234567890}',
    "max_tokens that fit nothing": BASE + b',"max_tokens":%d}' % 10**9,
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_requests_that_only_look_strange(live: Live, raw: RawEngine, case: str) -> None:
    body = ACCEPTED[case]
    assert send(live, body).status_code == 200
    sent, got = (msgspec.json.decode(data, type=dict[str, msgspec.Raw]) for data in (body, raw.asked[0].body))
    for name in sent.keys() - {"model"}:
        assert bytes(got[name]) == bytes(sent[name])
    live.recorded()


# A body, and what of it both the limiter and the engine must have taken.
DOUBLED: dict[str, tuple[bytes, dict[str, Any]]] = {
    "max_tokens": (BASE + b',"max_tokens":5,"max_tokens":500}', {"max_tokens": 500}),
    "max_tokens, the lower last": (BASE + b',"max_tokens":500,"max_tokens":5}', {"max_tokens": 5}),
    "max_tokens, escaped": (BASE + b',"max_tokens":5,"max_\\u0074okens":500}', {"max_tokens": 500}),
    "max_tokens, null last": (BASE + b',"max_tokens":500,"max_tokens":null}', {"max_tokens": 77}),
    "n": (BASE + b',"max_tokens":50,"n":1,"\\u006e":7}', {"max_tokens": 50, "n": 7}),
    "both names": (
        BASE + b',"max_tokens":500,"max_completion_tokens":5}',
        {"max_tokens": 500, "max_completion_tokens": 5},
    ),
    "both names, the newer higher": (
        BASE + b',"max_tokens":5,"max_completion_tokens":500}',
        {"max_tokens": 5, "max_completion_tokens": 500},
    ),
}


@pytest.mark.parametrize("case", DOUBLED)
def test_what_the_limiter_counted_is_what_the_engine_got(live: Live, raw: RawEngine, case: str) -> None:
    body, taken = DOUBLED[case]
    before, reserved = live.tokens_charged(), []

    async def script(asked: Asked) -> None:
        reserved.append(live.tokens_charged() - before)
        await asked.answer()

    raw.script = script
    assert send(live, body).status_code == 200
    got = raw.asked[0].json
    assert {name: got[name] for name in taken} == taken
    for name in taken:
        assert raw.asked[0].body.count(b'"%b":' % name.encode()) == 1
    most = max(got.get("max_tokens", 0), got.get("max_completion_tokens", 0)) * got.get("n", 1)
    assert most <= reserved[0] <= most + 60


@pytest.mark.parametrize("names", [(b"other", b"support"), (b"support", b"other")])
@pytest.mark.parametrize("key", [b"model", b"mod\\u0065l"])
def test_a_model_that_is_named_twice(live: Live, raw: RawEngine, names: tuple[bytes, bytes], key: bytes) -> None:
    answer = send(live, b'{"model":"%b",%b,"%b":"%b"}' % (names[0], MESSAGES, key, names[1]))
    if names[1] == b"support":
        assert answer.status_code == 200
        assert raw.asked[0].json["model"] == "champ"
        assert raw.asked[0].body.count(b'"model":') == 1
    else:
        assert (answer.status_code, code_of(answer)) == (404, "model_not_found")
        assert raw.asked == []


def test_bodies_without_end_and_heads_like_bombs(live: Live, raw: RawEngine) -> None:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n".encode()
    chunks = b"transfer-encoding: chunked\r\n\r\n"
    cases = {
        413: [
            head + b"content-length: 99999999999\r\n\r\n",
            head + chunks + b"10000\r\n%b\r\n" % (b"x" * 0x10000) * 200,
        ],
        431: [head + b"x: y\r\n" * 300 + b"\r\n", head + b"x: " + b"y" * 70_000 + b"\r\n\r\n"],
        400: [head + chunks + b"zz\r\n", head + b"content-length: 3\r\n" + chunks],
    }
    for status, shapes in cases.items():
        for data in shapes:
            with bare(live) as sock:
                with contextlib.suppress(ConnectionError):
                    sock.sendall(data)
                heard = b""
                while b"}}" not in heard and (more := sock.recv(65536)):
                    heard += more
            assert heard.startswith(b"HTTP/1.1 %d " % status), (status, heard[:200])
            assert set(json.loads(heard.partition(b"\r\n\r\n")[2])["error"]) == {"message", "type", "param", "code"}
            assert live.settled()
    assert raw.asked == []
    assert live.interactions() == []
    assert live.chat().status_code == 200


def test_slow_callers_hold_nothing(live: Live, raw: RawEngine) -> None:
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: 999\r\n\r\n"
    )
    socks = [bare(live) for _ in range(50)]
    for number, sock in enumerate(socks):
        sock.sendall(head.encode()[: 20 + number * 9])
    for _ in range(3):
        for sock in socks:
            sock.sendall(b"x")
        time.sleep(0.02)
        assert live.leftovers() == {}
    assert live.chat().status_code == 200
    for sock in socks:
        sock.close()
    assert live.recorded()
    assert len(raw.asked) == 1


def test_a_refused_limit_leaves_no_trace(live: Live, raw: RawEngine) -> None:
    tight = Tenant(name="acme", limits=Limits(tokens_per_minute=50))
    permits = live.listening.gateway.state.permits
    before = live.tokens_charged()
    table = live.publish(service(raw.url))
    live.loop.call_soon_threadsafe(permits.subjects.take_table, msgspec.structs.replace(table, tenants=(tight,)))
    time.sleep(0.05)
    answer = live.chat(max_tokens=10**6)
    assert (answer.status_code, answer.json()["error"]["type"]) == (429, "rate_limit_error")
    assert live.tokens_charged() == before
    assert live.settled()
    assert raw.asked == []
