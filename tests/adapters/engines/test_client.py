"""The client against a server that answers whatever a test wants: every failure becomes one of our errors."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from modelyard.adapters.engines.capabilities import VLLM, vllm
from modelyard.adapters.engines.client import HttpEngine
from modelyard.adapters.processes import free_port
from modelyard.core.errors import EngineFailed, Unavailable
from modelyard.ports.dataset import Message
from modelyard.ports.release import Sampling

ASK = (Message(role="user", content="Hi"),)


class Scripted:
    """Answers by path: (status, body). Keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[tuple[str, dict, str | None]] = []
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                scripted.asked.append((self.path, json.loads(body or b"{}"), self.headers.get("authorization")))
                status, answer = scripted.answers.get(self.path, (404, b"{}"))
                self.send_response(status)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    yield server
    server.server.shutdown()
    server.server.server_close()


def run(url: str, body: Callable[[HttpEngine], Awaitable[object]], **options: object) -> object:
    async def with_client() -> object:
        engine = HttpEngine(url, VLLM, **options)
        try:
            return await body(engine)
        finally:
            await engine.close()

    return asyncio.run(with_client())


def ask(engine: HttpEngine) -> Awaitable[object]:
    return engine.chat("m", ASK, Sampling())


def test_nobody_there_is_unavailable() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(Unavailable, match=f"engine at {url} does not answer") as caught:
        run(url, ask)
    assert not isinstance(caught.value, EngineFailed)
    assert run(url, HttpEngine.ready) is False


@pytest.mark.parametrize(
    ("status", "body", "error", "seen"),
    [
        (503, b'{"error":{"message":"queue full"}}', Unavailable, "too busy: queue full"),
        (500, b"boom", EngineFailed, "status 500: boom"),
        (404, b'{"error":{"message":"no model m"}}', EngineFailed, "status 404: no model m"),
        (200, b"<html>", EngineFailed, "not JSON: '<html>'"),
        (200, b"{}", EngineFailed, "no chat answer: {}"),
        (200, b'{"choices":[]}', EngineFailed, "no chat answer: {'choices': []}"),
    ],
)
def test_a_bad_answer_is_told_with_what_was_seen(
    scripted: Scripted, status: int, body: bytes, error: type[Exception], seen: str
) -> None:
    scripted.answers["/v1/chat/completions"] = (status, body)
    with pytest.raises(error) as caught:
        run(scripted.url, ask)
    assert seen in str(caught.value)


def test_the_key_is_sent(scripted: Scripted) -> None:
    scripted.answers["/v1/models"] = (200, b'{"data":[{"id":"m"}]}')
    assert run(scripted.url, HttpEngine.models, api_key="secret") == ["m"]
    assert scripted.asked[0][2] == "Bearer secret"


def test_a_loaded_name_is_not_loaded_again(scripted: Scripted) -> None:
    scripted.answers["/v1/models"] = (200, b'{"data":[{"id":"m"},{"id":"a@1"}]}')
    run(scripted.url, lambda engine: engine.load_adapter("a@1", Path("x")))
    assert [path for path, _, _ in scripted.asked] == ["/v1/models"]


def test_a_refused_adapter_is_an_error(scripted: Scripted) -> None:
    scripted.answers["/v1/models"] = (200, b'{"data":[]}')
    scripted.answers["/v1/load_lora_adapter"] = (400, b'{"error":{"message":"rank 7"}}')
    with pytest.raises(EngineFailed, match="rank 7"):
        run(scripted.url, lambda engine: engine.load_adapter("a@1", Path("x")))


def test_vllm_ranks_end_at_its_flag() -> None:
    assert vllm(64).lora_ranks == (1, 8, 16, 32, 64)
    assert VLLM.max_lora_rank == 64
