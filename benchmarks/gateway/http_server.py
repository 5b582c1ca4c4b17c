"""What HTTP alone costs: CPU of the server's process by request, from /proc, beside uvicorn with the same answers.

Run: `python benchmarks/gateway/http_server.py [--seconds 5] [--connections 8] [--json]`. It needs `wrk`. Requests are
POSTs of 1.2 KB with the headers of a client; answers have 600 bytes, or 66 chunks, each written in a turn of its own.
The floor reads nothing of what it gets and answers every read with ready bytes: what the system and the loop take.
"""

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

from modelyard.gateway.errors import Refusal, openai_error
from modelyard.gateway.http import Reply, Request, Server, bind, run

ANSWER = b'{"text":"' + b"word " * 118 + b'"}'
CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n'
NUM_CHUNKS = 66
LUA = """
wrk.method = "POST"
wrk.path = "%s"
wrk.body = string.rep("x", 1200)
wrk.headers["authorization"] = "Bearer sk-benchmark"
wrk.headers["content-type"] = "application/json"
wrk.headers["accept"] = "application/json"
wrk.headers["user-agent"] = "OpenAI/Python 1.60.0"
wrk.headers["x-stainless-lang"] = "python"
"""


class Handler:
    """The trivial handler: what is measured is the server around it."""

    def admit(self, request: Request) -> None:
        pass

    def handle(self, request: Request, reply: Reply) -> None:
        if request.path == "/whole":
            reply.send(200, b"content-type: application/json\r\n", ANSWER)
        else:
            reply.start(200, b"content-type: text/event-stream\r\n")
            self.write(reply, NUM_CHUNKS, asyncio.get_running_loop().call_soon)

    def write(self, reply: Reply, left: int, soon: Callable[..., Any]) -> None:
        if left > 1:
            reply.write(CHUNK)
            soon(self.write, reply, left - 1, soon)
        else:
            reply.finish(CHUNK)

    def failed(self, refusal: Refusal, request: Request | None) -> bytes:
        return openai_error(refusal.status, refusal.code, refusal.seen)


class Floor(asyncio.Protocol):
    """No HTTP at all."""

    whole = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%b\r\n" % (len(CHUNK), CHUNK)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.soon = asyncio.get_running_loop().call_soon

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"POST /whole"):
            self.transport.write(self.whole)
        else:
            self.write(self.head, NUM_CHUNKS)

    def write(self, before: bytes, left: int) -> None:
        self.transport.write(before + self.chunk if left > 1 else self.chunk + b"0\r\n\r\n")
        if left > 1:
            self.soon(self.write, b"", left - 1)


async def application(scope: Any, receive: Any, send: Any) -> None:
    """The same on ASGI."""
    await receive()
    start = {"type": "http.response.start", "status": 200}
    if scope["path"] == "/whole":
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]
        await send({**start, "headers": headers})
        await send({"type": "http.response.body", "body": ANSWER})
        return
    await send({**start, "headers": [(b"content-type", b"text/event-stream")]})
    for number in range(NUM_CHUNKS):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": number + 1 < NUM_CHUNKS})
        await asyncio.sleep(0)


def serve(kind: str, descriptor: int) -> None:
    listener = socket.socket(fileno=descriptor)
    if kind == "modelyard":

        async def main() -> None:
            await Server(Handler()).serve([listener])

        run(main)
        return
    if kind == "floor":

        async def bare() -> None:
            await (await asyncio.get_running_loop().create_server(Floor, sock=listener)).serve_forever()

        run(bare)
        return
    options: dict[str, Any] = {"loop": "uvloop", "http": "httptools", "ws": "none", "lifespan": "off"}
    config = uvicorn.Config(application, log_config=None, access_log=False, server_header=False, **options)
    uvicorn.Server(config).run(sockets=[listener])


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(port: int, path: str, seconds: int, connections: int) -> tuple[int, str]:
    """How many requests wrk had answered, and its median latency."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(LUA % path)
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script.name]
        output = subprocess.run([*command, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True)
    words = output.stdout.split()
    if "Non-2xx" in output.stdout or "Socket errors" in output.stdout:
        raise SystemExit(f"wrk saw errors; every request should be answered with 200:\n{output.stdout}")
    return int(words[words.index("requests") - 1]), words[words.index("50%") + 1]


def measure(kind: str, seconds: int, connections: int) -> list[dict[str, Any]]:
    rows = []
    with bind("127.0.0.1", 0) as listener:
        port, descriptor = listener.getsockname()[1], listener.fileno()
        command = [sys.executable, __file__, "--serve", kind, "--descriptor", str(descriptor)]
        process = subprocess.Popen(command, pass_fds=[descriptor])
    try:
        for path in ("/whole", "/stream"):
            load(port, path, 1, connections)
            before_s, began_s = cpu_s(process.pid), time.monotonic()
            requests, p50 = load(port, path, seconds, connections)
            used_s, wall_s = cpu_s(process.pid) - before_s, time.monotonic() - began_s
            row = {"server": kind, "answer": path[1:], "cpu_us": 1e6 * used_s / requests, "p50": p50}
            rows.append({**row, "requests_s": round(requests / wall_s)})
    finally:
        process.terminate()
        process.wait()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--descriptor", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve, given.descriptor)
        return
    rows = []
    for kind in ("uvicorn", "modelyard", "floor"):
        print(f"measuring {kind}, about {2 * given.seconds + 3} s", file=sys.stderr)
        rows += measure(kind, given.seconds, given.connections)
    if given.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'server':<10} {'answer':<7} {'CPU us/request':>14} {'requests/s':>10} {'p50':>9}")
    for row in rows:
        print("{server:<10} {answer:<7} {cpu_us:>14.1f} {requests_s:>10} {p50:>9}".format(**row))


if __name__ == "__main__":
    main()
