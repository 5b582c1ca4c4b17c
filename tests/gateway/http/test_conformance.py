"""The same byte conversations with uvicorn and with our server: same statuses, bodies, framing, same connection."""

import asyncio
import json
from typing import Any

import msgspec
import pytest

from tests.gateway.harness import serving
from tests.gateway.http.cases import CASES, Case
from tests.gateway.http.harness import Outcome, asgi_echo, converse, living, request


async def _hold(port: int) -> dict[str, Outcome]:
    tasks = {case.name: converse(port, case.pieces, half_close=case.half_close, methods=case.methods) for case in CASES}
    return dict(zip(tasks, await asyncio.gather(*tasks.values()), strict=True))


@pytest.fixture(scope="module")
def theirs() -> dict[str, Outcome]:
    with serving(asgi_echo) as url:
        return asyncio.run(_hold(int(url.rpartition(":")[2])))


@pytest.fixture(scope="module")
def ours() -> dict[str, Outcome]:
    with living() as live:
        return asyncio.run(_hold(live.port))


def shown(outcome: Outcome) -> dict[str, Any]:
    """What two servers must agree on. Of errors the status alone: their bodies are each server's own."""
    final = [answer for answer in outcome.answers if answer.status >= 200]
    return {
        "answers": [
            (
                answer.status,
                answer.framing,
                answer.headers.get("connection", "").lower(),
                answer.body if answer.status < 400 else b"",
            )
            for answer in final
        ],
        "rest": outcome.rest,
        "open": outcome.is_open,
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_answers_as_uvicorn_does_or_better(case: Case, theirs: dict[str, Outcome], ours: dict[str, Outcome]) -> None:
    outcome = ours[case.name]
    if case.ours is None:
        assert shown(outcome) == shown(theirs[case.name])
    else:
        assert case.why
        assert (outcome.statuses, outcome.is_open) == case.ours
        if case.steady:
            assert shown(outcome) != shown(theirs[case.name]), "there is no difference any more: drop `ours`"
    assert bool(outcome.rest) == case.cut


def test_refusals_have_the_error_body_of_openai(ours: dict[str, Outcome]) -> None:
    refused = [a for outcome in ours.values() for a in outcome.answers if a.status >= 400]
    assert len(refused) > 30
    for answer in refused:
        error = msgspec.json.decode(answer.body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert answer.headers["content-type"] == "application/json"


def test_what_a_tls_client_reads_says_so(ours: dict[str, Outcome]) -> None:
    assert json.loads(ours["tls_hello"].answers[0].body)["error"]["code"] == "tls_on_plain_port"


@pytest.mark.parametrize("name", ["upgrade_post", "upgrade_post_in_pieces", "upgrade_post_chunked"])
def test_the_body_of_a_declined_upgrade_is_read(ours: dict[str, Outcome], name: str) -> None:
    assert json.loads(ours[name].answers[0].body)["body"] == "hello"


def test_every_answer_has_a_date(ours: dict[str, Outcome]) -> None:
    assert all("date" in a.headers for outcome in ours.values() for a in outcome.answers if a.status >= 200)


@pytest.mark.parametrize(
    ("name", "said"),
    [("repeated_header", {"x-say": "a, b"}), ("repeated_cookie", {"cookie": "a=1; b=2"}), ("chunked_trailer", {})],
)
def test_headers_are_joined_and_trailers_left_out(ours: dict[str, Outcome], name: str, said: dict[str, str]) -> None:
    fields = json.loads(ours[name].answers[0].body)
    assert {key: value for key, value in fields.items() if key in ("x-say", "cookie")} == said


def test_every_split_of_a_conversation_reads_the_same() -> None:
    data = request("POST", "/echo?a=1", "x-say: hi", body=b"hello") + (
        request("POST", "/echo", "transfer-encoding: chunked") + b"5;e=1\r\nhello\r\n2\r\nyo\r\n0\r\nt: x\r\n\r\n"
    )

    async def hold(port: int) -> list[Outcome]:
        splits = [(data[:i], data[i:]) for i in range(1, len(data))]
        return await asyncio.gather(*(converse(port, split) for split in splits))

    with living() as live:
        seen = [[(a.status, a.body) for a in outcome.answers] for outcome in asyncio.run(hold(live.port))]
    assert all(answers == seen[0] for answers in seen)
    assert [status for status, _ in seen[0]] == [200, 200]
