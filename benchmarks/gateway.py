"""What a request costs the gateway: CPU of its process by request, from /proc, against an engine that costs nothing.

Run: `python benchmarks/gateway.py [--requests 4000]`. Requests have 1.2 KB, whole answers 0.6 KB, streams 66 chunks.
"""

import argparse
import asyncio
import hashlib
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import uvloop

from modelyard.core.clock import now_ms
from modelyard.core.files import write_atomically
from modelyard.ports.routes import BodyPolicy, Key, RouteTable, Service, Variant, encode_route_table

KEY = "sk-benchmark"
NUM_CHUNKS = 66
CONCURRENCY = 8
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n"


def chunk(choices: list[object], **fields: object) -> bytes:
    common = {"id": "chatcmpl-0123456789", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    data = b"data: %b\n\n" % msgspec.json.encode({**common, "choices": choices, **fields})
    return b"%x\r\n%b\r\n" % (len(data), data)


def whole_answer() -> bytes:
    message = {"role": "assistant", "content": "word " * 70}
    usage = {"prompt_tokens": 200, "completion_tokens": 70, "total_tokens": 270}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    common = {"id": "chatcmpl-0123456789", "object": "chat.completion", "created": 1, "model": "m"}
    body = msgspec.json.encode({**common, "choices": [choice], "usage": usage})
    return HEAD % b"application/json" + b"content-length: %d\r\n\r\n%b" % (len(body), body)


def stream_pieces() -> list[bytes]:
    pieces = [HEAD % b"text/event-stream" + b"transfer-encoding: chunked\r\n\r\n"]
    pieces += [
        chunk([{"index": 0, "delta": {"content": " word"}, "finish_reason": None}]) for _ in range(NUM_CHUNKS - 2)
    ]
    pieces.append(chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    pieces.append(chunk([], usage={"prompt_tokens": 200, "completion_tokens": 64, "total_tokens": 264}))
    return [*pieces, b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"]


class EngineProtocol(asyncio.Protocol):
    """An engine that has every answer ready. It sends each chunk of a stream on its own."""

    whole = whole_answer()
    pieces = stream_pieces()
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if found and len(body) >= int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            self.buffer = b""
            if b'"stream":true' in body:
                self.send(0)
            else:
                self.transport.write(self.whole)

    def send(self, number: int) -> None:
        self.transport.write(self.pieces[number])
        if number + 1 < len(self.pieces):
            asyncio.get_running_loop().call_later(0.001, self.send, number + 1)


def run_engine(port: int) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(EngineProtocol, "127.0.0.1", port)
        await server.serve_forever()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


async def load(port: int, stream: bool, num_requests: int) -> None:
    turns = [{"role": "user", "content": "word " * 220}]
    body = msgspec.json.encode({"model": "support", "messages": turns, "stream": stream, "user": "u1"})
    request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer " + KEY.encode()
    request += b"\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)

    async def one_client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(num_requests // CONCURRENCY):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head:
                raise SystemExit(head.decode())
            if stream:
                await reader.readuntil(b"0\r\n\r\n")
            else:
                await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        writer.close()

    await asyncio.gather(*(one_client() for _ in range(CONCURRENCY)))


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(port: int) -> None:
    for _ in range(400):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


def measure(policy: BodyPolicy, engine_port: int, num_requests: int) -> list[tuple[str, float, float]]:
    """Rows of (what, CPU milliseconds by request, resident MB) for whole answers and for streams."""
    with tempfile.TemporaryDirectory() as folder:
        table, port = Path(folder) / "routes.json", free_port()
        variant = Variant(release="r", ref="r@1", engine_url=f"http://127.0.0.1:{engine_port}", model="m@1")
        key = Key(id="k", hash=hashlib.sha256(KEY.encode()).hexdigest(), tenant="t")
        services = (Service(name="support", champion=variant, body_policy=policy),)
        routes = RouteTable(version=1, created_ms=now_ms(), services=services, keys=(key,))
        write_atomically(table, encode_route_table(routes))
        command = [sys.executable, "-m", "modelyard.gateway.server", "--port", str(port)]
        process = subprocess.Popen([*command, "--table", str(table), "--journal", str(Path(folder) / "journal")])
        try:
            wait_for(port)
            rows = []
            for what, stream, number in (("whole", False, num_requests), ("stream", True, num_requests // 8)):
                uvloop.run(load(port, stream, 200))
                before = cpu_seconds(process.pid)
                uvloop.run(load(port, stream, number))
                cpu_ms = (cpu_seconds(process.pid) - before) * 1000 / number
                rows.append((f"{what}, bodies {policy}", cpu_ms, resident_mb(process.pid)))
            return rows
        finally:
            process.terminate()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=4000)
    num_requests = parser.parse_args().requests
    engine_port = free_port()
    engine = multiprocessing.Process(target=run_engine, args=(engine_port,), daemon=True)
    engine.start()
    try:
        wait_for(engine_port)
        rows = [row for policy in ("none", "hash", "full") for row in measure(policy, engine_port, num_requests)]
    finally:
        engine.terminate()
    print(f"{'request':<22}{'CPU ms/request':>16}{'resident MB':>14}")
    for what, cpu_ms, megabytes in rows:
        print(f"{what:<22}{cpu_ms:>16.3f}{megabytes:>14.1f}")


if __name__ == "__main__":
    main()
