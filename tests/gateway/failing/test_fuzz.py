"""A fuzzer: an engine whose answers are good ones cut, doubled, mixed up, overwritten, and split anywhere.

Whatever it sends, a caller gets one of the defined outcomes, the journal one line, and nothing is left. Cases that once
went wrong are kept in `corpus/` and run again; add one as a file with the engine's bytes.
"""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.ports.serving import Retries, Timeouts
from tests.gateway.failing.engines import STREAM, Asked, RawEngine, good, raw_engine, whole
from tests.gateway.failing.live import Live, events_of, service

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.http"))
SEEDS = [
    whole(),
    STREAM,
    whole(b'{"error":{"message":"no","code":"x"}}', status=429, headers=b"retry-after: 1\r\n"),
    b"HTTP/1.1 100 Continue\r\n\r\n" + STREAM,
    STREAM.replace(b"transfer-encoding: chunked", b"connection: close"),
]
WORDS = [
    b"\r\n", b"\n\n", b"data: ", b"data: [DONE]\n\n", b"0\r\n\r\n", b"content-length: 5\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"null", b"NaN", b'"usage":', b'"error":{}', b"\x00", b"\xff", b"-1", b"9" * 40, b"[" * 2000, b"retry-after: 1\r\n",
]  # fmt: skip
HASTE = Timeouts(connect_s=1, first_token_s=0.3, between_tokens_s=0.3, total_s=1)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """A good answer after some accidents."""
    data = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 120)))
        kind = draw(st.sampled_from(["cut", "drop", "double", "swap", "word", "bytes", "move"]))
        piece = data[start:end]
        if kind == "cut":
            data = data[:start]
        elif kind == "drop":
            data = data[:start] + data[end:]
        elif kind == "double":
            data = data[:end] + piece + data[end:]
        elif kind == "swap":
            data = data[:start] + piece[::-1] + data[end:]
        elif kind == "word":
            data = data[:start] + draw(st.sampled_from(WORDS)) + data[start:]
        elif kind == "bytes":
            data = data[:start] + draw(st.binary(max_size=20)) + data[end:]
        else:
            data = data[:start] + data[end:] + piece
    return data


class Fuzzed:
    """A gateway before an engine that sends what it is told."""

    def __init__(self, live: Live, raw: RawEngine) -> None:
        self.live = live
        self.raw = raw
        self.client = httpx.Client(timeout=10)
        self.seen: set[tuple[int, str]] = set()

    def ask(self, data: bytes, cuts: list[int], *, stream: bool) -> None:
        """One request, whose outcome must be a defined one, and a good one after it."""
        places = [0, *sorted(cuts), len(data)]

        async def script(asked: Asked) -> None:
            for start, end in itertools.pairwise(places):
                if start < end:
                    await asked.send(data[start:end])
                    await asyncio.sleep(0.001)
            asked.writer.close()

        before = len(self.live.interactions())
        self.raw.script = script
        self._check(self._post(stream), stream)
        assert self.live.settled()
        (entry,) = self.live.interactions(before + 1)[before:]
        self.seen.add((entry.status, entry.error))
        self.raw.script = good
        self._reset_health()
        answer = self._post(stream)
        assert answer.status_code == 200
        assert "champ" in answer.text
        assert len(self.live.recorded(before + 2)) == before + 2

    def _post(self, stream: bool) -> httpx.Response:
        body: dict[str, Any] = {"model": "support", "stream": stream, "messages": [{"role": "user", "content": "x"}]}
        headers = {"authorization": "Bearer sk-yard-test"}
        return self.client.post(f"{self.live.url}/v1/chat/completions", json=body, headers=headers)

    def _check(self, answer: httpx.Response, stream: bool) -> None:
        if answer.status_code != 200:
            assert 400 <= answer.status_code <= 999
            assert "error" in answer.json()
            assert "127.0.0.1" not in answer.text
        elif stream:
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert events_of(answer) or answer.text
        else:
            assert answer.json()["model"] == "support"
            assert answer.json()["id"] != "theirs"

    def _reset_health(self) -> None:
        """An engine that asked for a pause would be left alone."""
        routes = self.live.listening.gateway.state.table.routes
        assert routes is not None
        for replica in routes.services["support"].chooser.candidates["champion"].replicas.all:
            replica.circuit._close()


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    with Live(tmp_path_factory.mktemp("fuzz")).open() as live, raw_engine() as raw:
        live.publish(service(raw.url, timeouts=HASTE, retries=Retries(max=0)))
        yield Fuzzed(live, raw)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
@pytest.mark.parametrize("stream", [False, True])
def test_what_once_went_wrong(fuzzed: Fuzzed, path: Path, stream: bool) -> None:
    data = path.read_bytes()
    fuzzed.ask(data, [], stream=stream)
    fuzzed.ask(data, list(range(0, len(data), max(1, len(data) // 7))), stream=stream)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=answers(), cuts=st.lists(st.integers(0, 1500), max_size=6), stream=st.booleans())
def test_whatever_an_engine_sends(fuzzed: Fuzzed, data: bytes, cuts: list[int], stream: bool) -> None:
    fuzzed.ask(data, cuts, stream=stream)


@pytest.mark.long
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=answers(), cuts=st.lists(st.integers(0, 1500), max_size=6), stream=st.booleans())
def test_whatever_an_engine_sends_for_long(fuzzed: Fuzzed, data: bytes, cuts: list[int], stream: bool) -> None:
    fuzzed.ask(data, cuts, stream=stream)


def test_the_fuzzer_reaches_the_outcomes(fuzzed: Fuzzed) -> None:
    """One that only ever saw good answers would prove nothing."""
    assert {error for _, error in fuzzed.seen} >= {"", "upstream_unavailable", "upstream_malformed", "upstream_cut"}
