"""The engine that all gateways of a benchmark stand before: a server with every answer ready, in its own process.

    python benchmarks/gateway/upstream.py --port N [--pace-ms MS]

Without a pace, each chunk of a stream is its own write to the socket and they follow at once; with one, they come that
far apart, each stream by a timer of its own. Knows HTTP/1.1 with a content-length and no more of it.
"""

import argparse
import asyncio
import os
from itertools import cycle

import uvloop

import wire

_WHOLE = cycle([wire.whole_answer(number) for number in range(len(wire.USAGES))])
_STREAMS = cycle([wire.stream_pieces(number) for number in range(len(wire.USAGES))])
_ENTRY = {"id": wire.MODEL, "object": "model", "created": 1_700_000_000, "owned_by": "benchmark", "max_model_len": 8192}
# What the peers ask for beside answers: the models, health, and vLLM's own pages.
_PAGES = {
    b"/v1/models": wire.json_answer({"object": "list", "data": [_ENTRY]}),
    b"/get_model_info": wire.json_answer({"model_path": wire.MODEL, "is_generation": True}),
    b"/get_server_info": wire.json_answer({"model_path": wire.MODEL, "dp_size": 1}),
}
_OTHERWISE = wire.json_answer({"status": "ok"})
_LENGTH = b"content-length: "


class Engine(asyncio.Protocol):
    """One connection."""

    pace_s = 0.0
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection. uvloop sets TCP_NODELAY."""
        self.transport = transport  # type: ignore[assignment]
        self.descriptor = transport.get_extra_info("socket").fileno()
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            length = int(head.partition(_LENGTH)[2].partition(b"\r")[0] or 0)
            if len(self.buffer) < end + 4 + length:
                return
            path, body = self.buffer[:end].split(b" ", 2)[1], self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            self.answer(path, body)

    def answer(self, path: bytes, body: bytes) -> None:
        """Answer one request."""
        if not path.endswith(b"/completions"):
            self.transport.write(_PAGES.get(path, _OTHERWISE))
        elif b'"stream":true' not in body and b'"stream": true' not in body:
            self.transport.write(next(_WHOLE))
        elif self.pace_s:
            self.send_paced(next(_STREAMS), 0)
        else:
            self.send_burst(next(_STREAMS))

    def send_burst(self, pieces: list[bytes]) -> None:
        """Write chunk by chunk; what the socket does not take at once goes through the transport."""
        for number, piece in enumerate(pieces):
            try:
                written = os.write(self.descriptor, piece)
            except BlockingIOError:
                written = 0
            except OSError:
                return  # the gateway left
            if written < len(piece):
                self.transport.write(piece[written:] + b"".join(pieces[number + 1 :]))
                return

    def send_paced(self, pieces: list[bytes], number: int) -> None:
        """Write one chunk and come again for the next."""
        if self.transport.is_closing():
            return
        self.transport.write(pieces[number])
        if number + 1 < len(pieces):
            asyncio.get_running_loop().call_later(self.pace_s, self.send_paced, pieces, number + 1)


async def serve(port: int) -> None:
    """Serve until the process ends."""
    server = await asyncio.get_running_loop().create_server(Engine, "127.0.0.1", port, backlog=8192)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pace-ms", type=float, default=0.0)
    options = parser.parse_args()
    Engine.pace_s = options.pace_ms / 1000
    uvloop.run(serve(options.port))
