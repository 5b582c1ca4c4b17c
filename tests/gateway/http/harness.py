"""A live server in a thread with a handler that echoes, the same in ASGI, and a client that speaks in raw bytes."""

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
import uvloop

from modelyard.gateway.errors import Refusal, openai_error
from modelyard.gateway.http import Cors, HttpSettings, Reply, Request, Server, Tls, bind

QUIET_S = 0.25
JSON = b"content-type: application/json\r\n"
MANY = b"x" * 65_536


class Echo:
    """Says what it was asked. `/chunks` streams, `/later` takes its time, `/flood` writes until it is told to stop."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop
        self.seen: list[Request] = []
        self.gone: list[str] = []
        self.events: list[str] = []
        self.later_s = 0.05

    def admit(self, request: Request) -> None:
        if b"x-refuse" in request.headers:
            raise Refusal(401, "no_key", "There is no key.", headers=((b"www-authenticate", b"Bearer"),))
        if b"x-break-early" in request.headers:
            raise ValueError("broken while admitting")

    def handle(self, request: Request, reply: Reply) -> None:
        self.seen.append(request)
        reply.on_gone = lambda: self.gone.append(request.path)
        getattr(self, f"answer_{request.path[1:]}", self.answer_echo)(request, reply)

    def failed(self, refusal: Refusal, request: Request | None) -> bytes:
        return openai_error(refusal.status, refusal.code, refusal.seen, refusal.param)

    def answer_echo(self, request: Request, reply: Reply) -> None:
        reply.send(200, JSON, echo(request.method, request.path, request.query, request.body, request.headers))

    def answer_empty(self, request: Request, reply: Reply) -> None:
        reply.send(204, b"", b"")

    def answer_chunks(self, request: Request, reply: Reply) -> None:
        reply.start(200, b"content-type: text/plain\r\n")
        reply.write(b"one")
        reply.write(b"")
        self.loop.call_later(0.01, reply.write, b"two" * 10)
        self.loop.call_later(0.02, reply.finish, b"three")

    def answer_later(self, request: Request, reply: Reply) -> None:
        self.loop.call_later(self.later_s, self.answer_echo, request, reply)

    def answer_head_first(self, request: Request, reply: Reply) -> None:
        reply.start(200, b"")
        self.loop.call_later(0.2, reply.finish)

    def answer_break(self, request: Request, reply: Reply) -> None:
        raise ValueError("broken")

    def answer_break_late(self, request: Request, reply: Reply) -> None:
        reply.start(200, b"")
        reply.write(b"some")
        raise ValueError("broken")

    def answer_refuse(self, request: Request, reply: Reply) -> None:
        raise Refusal(429, "slow_down", "Too many.", headers=((b"retry-after", b"3"),))

    def answer_abort(self, request: Request, reply: Reply) -> None:
        reply.start(200, b"")
        reply.write(b"some")
        self.loop.call_later(0.02, reply.abort)

    def answer_never(self, request: Request, reply: Reply) -> None:
        pass

    def answer_flood(self, request: Request, reply: Reply) -> None:
        writing = True

        def pause() -> None:
            nonlocal writing
            writing = False
            self.events.append("pause")

        def resume() -> None:
            self.events.append("resume")
            reply.finish(b"end")

        reply.on_pause, reply.on_resume = pause, resume
        reply.start(200, b"")
        while writing:
            reply.write(MANY)


def echo(method: str, path: str, query: bytes, body: bytes, headers: dict[bytes, bytes]) -> bytes:
    said = {name.decode(): value.decode("latin-1") for name, value in headers.items() if name in (b"x-say", b"cookie")}
    fields = {"method": method, "path": path, "query": query.decode(), "body": body.decode("latin-1"), **said}
    return json.dumps(fields).encode()


async def asgi_echo(scope: Any, receive: Any, send: Any) -> None:
    """What `Echo` does, for uvicorn."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        more = message.get("more_body", False)
    path = scope["path"]
    start = {"type": "http.response.start", "status": 204 if path == "/empty" else 200}
    if path == "/chunks":
        await send({**start, "headers": [(b"content-type", b"text/plain")]})
        for piece in (b"one", b"two" * 10):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"three"})
        return
    if path == "/empty":
        await send({**start, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    if path == "/later":
        await asyncio.sleep(0.05)
    answer = echo(scope["method"], path, scope["query_string"], body, dict(scope["headers"]))
    await send({**start, "headers": [(b"content-length", b"%d" % len(answer))]})
    await send({"type": "http.response.body", "body": answer})


class Live:
    """A server that runs in a thread; what went wrong inside it is kept in `problems`."""

    def __init__(self, settings: HttpSettings, tls: Tls | None, cors: Cors | None) -> None:
        self.handler = Echo()
        self.problems: list[str] = []
        self._given = (settings, tls, cors)
        self._listener = bind("127.0.0.1", 0)
        self.port = int(self._listener.getsockname()[1])
        self._ready = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        settings, tls, cors = self._given

        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: self.problems.append(repr(context)))
            self.handler.loop = self.loop = loop
            self.server = Server(self.handler, settings, tls=tls, cors=cors)
            loop.call_soon(self._ready.set)
            await self.server.serve([self._listener])

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())

    def start(self) -> None:
        self.thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        with suppress(RuntimeError):  # it has ended already
            self.loop.call_soon_threadsafe(self.server.stop)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    @property
    def num_connections(self) -> int:
        return len(self.server.connections)


class _Problems(logging.Handler):
    def __init__(self, live: Live) -> None:
        super().__init__(logging.ERROR)
        self.live = live

    def emit(self, record: logging.LogRecord) -> None:
        self.live.problems.append(f"{record.getMessage()} {record.exc_info}")


@contextmanager
def living(
    *, tls: Tls | None = None, cors: Cors | None = None, may_fail: bool = False, **settings: Any
) -> Iterator[Live]:
    """A live server. At the end nothing may have gone wrong inside it and no connection may be left."""
    live = Live(HttpSettings(**{"drain_s": 1.0, "sweep_s": 0.1, **settings}), tls, cors)
    watch = _Problems(live)
    logging.getLogger().addHandler(watch)
    live.start()
    try:
        yield live
    finally:
        live.stop()
        live.thread.join(timeout=20)
        logging.getLogger().removeHandler(watch)
    assert not live.thread.is_alive()
    assert live.num_connections == 0
    assert may_fail or live.problems == []


class Answer(msgspec.Struct, frozen=True):
    """One answer as read from the wire."""

    status: int
    headers: dict[str, str]
    body: bytes
    framing: str


def parse_answers(data: bytes, methods: Sequence[str] = ()) -> tuple[list[Answer], bytes]:
    """The whole answers in some bytes, interim ones included, and what is left. An answer that goes on until the
    connection closes takes everything."""
    answers: list[Answer] = []
    final = 0
    while b"\r\n\r\n" in data:
        head, _, rest = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status_text = first.split(" ")[:2]
        assert version == "HTTP/1.1", head
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        status = int(status_text)
        method = methods[final] if final < len(methods) else "GET"
        final += status >= 200
        if status < 200 or status in (204, 304) or method == "HEAD":
            body, framing = b"", "none"
        elif "content-length" in headers:
            size, framing = int(headers["content-length"]), "length"
            if len(rest) < size:
                break
            body, rest = rest[:size], rest[size:]
        elif headers.get("transfer-encoding") == "chunked":
            found = read_chunks(rest)
            if found is None:
                break
            (body, rest), framing = found, "chunked"
        else:
            body, rest, framing = rest, b"", "close"
        answers.append(Answer(status, headers, body, framing))
        data = rest
    return answers, data


def read_chunks(data: bytes) -> tuple[bytes, bytes] | None:
    """The body and what follows it; None where it is not whole."""
    body = b""
    while b"\r\n" in data:
        line, _, data = data.partition(b"\r\n")
        size = int(line, 16)
        if len(data) < size + 2:
            return None
        assert data[size : size + 2] == b"\r\n"
        body, data = body + data[:size], data[size + 2 :]
        if not size:
            return body, data
    return None


class Outcome(msgspec.Struct, frozen=True):
    """What came back in a conversation: the answers, bytes that are none, and whether the connection stayed open."""

    answers: list[Answer]
    rest: bytes
    is_open: bool

    @property
    def statuses(self) -> list[int]:
        return [answer.status for answer in self.answers if answer.status >= 200]


async def converse(
    port: int,
    pieces: Sequence[bytes],
    *,
    half_close: bool = False,
    methods: Sequence[str] = (),
    quiet_s: float = QUIET_S,
    gap_s: float = 0.01,
) -> Outcome:
    """Send the pieces one after the other and read until the end, or until nothing comes for a while."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(gap_s)
            writer.write(piece)
        if half_close:
            writer.write_eof()
        data, is_open = b"", True
        try:
            while more := await asyncio.wait_for(reader.read(65_536), quiet_s):
                data += more
            is_open = False
        except TimeoutError:
            pass
        except ConnectionError:
            is_open = False
        return Outcome(*parse_answers(data, methods), is_open)
    finally:
        writer.transport.abort()


def talk(port: int, *pieces: bytes, **options: Any) -> Outcome:
    return asyncio.run(converse(port, pieces, **options))


def read_all(sock: socket.socket) -> bytes:
    """Everything until the connection closes."""
    data = b""
    while more := sock.recv(65_536):
        data += more
    return data


def read_until(sock: socket.socket, is_enough: Callable[[bytes], bool]) -> bytes:
    data = b""
    while not is_enough(data):
        more = sock.recv(65_536)
        assert more, data
        data += more
    return data


def request(method: str = "GET", path: str = "/echo", *lines: str, body: bytes = b"") -> bytes:
    """A request in HTTP/1.1 with the lines given, and a length where there is a body."""
    head = [f"{method} {path} HTTP/1.1", "host: test", *lines]
    if body:
        head.append(f"content-length: {len(body)}")
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


CHUNKED_HEAD = request("POST", "/echo", "transfer-encoding: chunked")
