"""A real HTTP server that answers as a test wants, and a teacher's usual answer: what it was asked, turned around."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, NamedTuple


class Told(NamedTuple):
    """An answer of the server: it waits, then sends these bytes, or cuts the connection."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = {}
    wait_s: float = 0.0
    cuts: bool = False


class Asked(NamedTuple):
    """What the server was asked."""

    path: str
    body: dict[str, Any]
    key: str | None
    at_s: float


def chat(text: str, *, finish_reason: str = "stop", usage: tuple[int, int] | None = (10, 5), wait_s: float = 0) -> Told:
    """An answer as OpenAI writes it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    body: dict[str, Any] = {"id": "x", "model": "teacher-1.5", "choices": [choice]}
    if usage:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return Told(json.dumps(body).encode(), wait_s=wait_s)


def error(status: int, message: str, headers: Mapping[str, str] | None = None, code: str = "") -> Told:
    """An error as OpenAI writes it."""
    return Told(json.dumps({"error": {"message": message, "code": code}}).encode(), status, headers or {})


def turned_around(body: dict[str, Any], number: int) -> Told:
    """The same question with the same seed has the same answer, in whatever order questions come."""
    return chat(f"{body['messages'][-1]['content'][::-1]} {body.get('seed')}")


class Server:
    """Answers POSTs by a function of the body and of how many were asked before. Keeps what it was asked."""

    def __init__(self, answer: Callable[[dict[str, Any], int], Told]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self._lock = Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with server._lock:
                    number = len(server.asked)
                    server.asked.append(Asked(self.path, body, self.headers.get("authorization"), time.monotonic()))
                told = server.answer(body, number)
                time.sleep(told.wait_s)
                if told.cuts:
                    self.connection.close()
                    return
                self.send_response(told.status)
                for name, value in {**told.headers, "content-length": str(len(told.body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(told.body)

            def log_message(self, *args: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args: object) -> None:
                # A client that left is what some tests are about.
                pass

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"


@contextmanager
def serving(answer: Callable[[dict[str, Any], int], Told] = turned_around) -> Iterator[Server]:
    """A running server."""
    server = Server(answer)
    Thread(target=server.http.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
