"""The kill switch, through a live gateway."""

import json
import threading
import time
from typing import Any

import httpx
import pytest

from modelyard.core.files import write_atomically
from modelyard.ports.kills import FILE_NAME, Kill, encode_kills
from modelyard.ports.limits import Limits, Tenant
from tests.gateway.flows.conftest import service
from tests.gateway.flows.engine import Rich
from tests.gateway.harness import AUTH, CHAT, Yard, eventually, variant


def kill(yard: Yard, *kills: Kill) -> None:
    write_atomically(yard.table.with_name(FILE_NAME), encode_kills(kills))


@pytest.mark.parametrize(
    "stopped",
    [
        Kill(kind="key", name="key-1"),
        Kill(kind="tenant", name="acme"),
        Kill(kind="service", name="support"),
        Kill(kind="all"),
    ],
)
def test_what_is_killed_is_refused_until_it_is_lifted(yard: Yard, engine_url: str, stopped: Kill) -> None:
    yard.publish(service(engine_url))
    assert yard.post().status_code == 200
    kill(yard, stopped, Kill(kind="tenant", name="another"))
    refused = eventually(lambda: (answer := yard.post()).status_code == 403 and answer, seconds=1)
    assert refused.json()["error"]["code"] == "killed"
    kill(yard)
    eventually(lambda: yard.post().status_code == 200, seconds=1)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_a_stream_in_flight_ends_within_a_second(yard: Yard, engine: Rich, engine_url: str, path: str) -> None:
    engine.pieces, engine.piece_delay_s = ("word ",) * 1000, 0.05
    limits = Limits(tokens_per_minute=10_000, concurrency=1)
    yard.publish(service(engine_url), tenants=(Tenant(name="acme", limits=limits),))
    body: dict[str, Any] = {**CHAT, "stream": True, "max_tokens": 500}
    if path == "/v1/responses":
        body = {"model": "support", "input": "hello", "stream": True}
    heard: list[str] = []
    ended: list[float] = []

    def listen() -> None:
        with httpx.stream("POST", yard.url + path, json=body, headers=AUTH) as answer:
            heard.extend(answer.iter_text())
        ended.append(time.monotonic())

    thread = threading.Thread(target=listen)
    thread.start()
    eventually(lambda: "word" in "".join(heard))
    began = time.monotonic()
    kill(yard, Kill(kind="service", name="support"))
    thread.join(timeout=5)
    assert ended
    assert ended[0] - began < 1
    last = [event for event in "".join(heard).split("\n\n") if event][-1]
    said = json.loads(last.rpartition("data: ")[2])
    if path == "/v1/responses":
        assert (said["type"], said["response"]["error"]["code"]) == ("response.failed", "killed")
    elif path == "/v1/messages":
        assert (last[:12], said["error"]["type"]) == ("event: error", "permission_error")
    else:
        assert said["error"]["code"] == "killed"
    eventually(lambda: engine.ended == 1, seconds=2)
    (entry,) = yard.interactions(1)
    assert (entry.status, entry.error) == (403, "killed")
    assert entry.completion_tokens > 0
    kill(yard)
    engine.piece_delay_s = 0
    answer = eventually(lambda: (found := yard.post()).status_code == 200 and found, seconds=2)
    assert int(answer.headers["x-ratelimit-remaining-tokens"]) > 9_000
    assert len(yard.interactions(2)) == 2


def test_a_request_that_waits_is_answered(yard: Yard, engine: Rich, engine_url: str) -> None:
    engine.fault = {"champ": "hang"}
    yard.publish(service(engine_url))
    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(yard.post(timeout=10)))
    thread.start()
    eventually(lambda: engine.requests)
    kill(yard, Kill(kind="all"))
    thread.join(timeout=2)
    assert [answer.status_code for answer in answers] == [403]
    eventually(lambda: engine.left == 1)
    assert [(entry.status, entry.error) for entry in yard.interactions(1)] == [(403, "killed")]


def test_a_shadow_is_stopped_too(yard: Yard, engine: Rich, engine_url: str) -> None:
    engine.fault = {"next": "hang"}
    yard.publish(service(engine_url, challenger=variant("next", engine_url), shadow=True))
    assert yard.post().status_code == 200
    eventually(lambda: len(engine.requests) == 2)
    kill(yard, Kill(kind="service", name="support"))
    eventually(lambda: engine.left == 1, seconds=2)
    given, shadow = yard.interactions(2)
    assert (shadow.role, shadow.status, shadow.error, shadow.shadow_of) == ("shadow", 403, "killed", given.id)
    assert yard.metric("shadows_in_flight") == 0
