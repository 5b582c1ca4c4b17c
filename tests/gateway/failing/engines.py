"""An engine made of bytes: it reads requests from its socket and does with it whatever a script says."""

import asyncio
import contextlib
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

WHOLE = {
    "id": "theirs",
    "object": "chat.completion",
    "created": 1,
    "model": "champ",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "I am champ"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14},
}
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


def compact(value: Any) -> bytes:
    """JSON as engines write it."""
    return json.dumps(value, separators=(",", ":")).encode()


def whole(body: bytes | None = None, *, status: int = 200, headers: bytes = b"", version: bytes = b"1.1") -> bytes:
    """An answer with its length."""
    body = compact(WHOLE) if body is None else body
    head = b"HTTP/%b %d X\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n"
    return head % (version, status, headers, len(body)) + body


def piece(text: str = "", finish: str | None = None, **changes: Any) -> bytes:
    """One event of a stream, as vLLM lays it out."""
    delta = {"content": text} if text else {}
    fields = {
        "id": "theirs",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "champ",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        "usage": None,
    }
    return b"data: %b\n\n" % compact({**fields, **changes})


USAGE = piece(choices=[], usage={"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14})
DONE = b"data: [DONE]\n\n"
EVENTS = [piece("I "), piece("am "), piece("champ"), piece(finish="stop"), USAGE, DONE]


def chunked(*parts: bytes, last: bytes = LAST) -> bytes:
    """A stream's whole answer, each part a chunk."""
    return STREAM_HEAD + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + last


STREAM = chunked(*EVENTS)


class Asked:
    """One request that the engine got, and the connection to do with as the script likes."""

    def __init__(self, engine: "RawEngine", head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        self.engine = engine
        self.head = head
        self.body = body
        self.writer = writer

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> None:
        """A good one, of the form that was asked for."""
        await self.send(STREAM if self.json.get("stream") else whole())

    def reset(self) -> None:
        """Close with an RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.close()

    async def hang(self) -> None:
        """Say nothing until the gateway has left."""
        with contextlib.suppress(ConnectionError):
            await self.engine.readers[self.writer].read()
        self.engine.left += 1
        self.writer.close()


Script = Callable[[Asked], Awaitable[None]]


async def good(asked: Asked) -> None:
    await asked.answer()


async def hang(asked: Asked) -> None:
    await asked.hang()


def says(data: bytes, *, closes: bool = False) -> Script:
    """A script that sends some bytes for any request."""

    async def script(asked: Asked) -> None:
        await asked.send(data)
        if closes:
            asked.writer.close()

    return script


class RawEngine:
    """`asked` holds its requests, `left` counts the hanging ones that the gateway broke off."""

    def __init__(self) -> None:
        self.script: Script = good
        self.asked: list[Asked] = []
        self.left = 0
        self.num_connections = 0
        self.open = 0
        self.url = ""
        self.readers: dict[asyncio.StreamWriter, asyncio.StreamReader] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        self.open += 1
        self.readers[writer] = reader
        try:
            while not writer.is_closing():
                asked = await self._read(reader, writer)
                self.asked.append(asked)
                await self.script(asked)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Asked:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
        return Asked(self, head, await reader.readexactly(int(lines[b"content-length"])), writer)


@contextmanager
def raw_engine() -> Iterator[RawEngine]:
    """A raw engine on a loop of its own."""
    engine = RawEngine()
    loop = asyncio.new_event_loop()
    started = threading.Event()

    async def main() -> None:
        server = await asyncio.start_server(engine.serve, "127.0.0.1", 0)
        engine.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set()

    thread = threading.Thread(target=lambda: (loop.run_until_complete(main()), loop.run_forever()), daemon=True)
    thread.start()
    started.wait(10)
    try:
        yield engine
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
