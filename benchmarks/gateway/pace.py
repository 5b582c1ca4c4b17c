"""The client of an open loop: requests leave at a fixed rate, whatever became of those before.

    python benchmarks/gateway/pace.py PORT FILE RATE SECONDS

A latency counts from the moment that its request was due, so a gateway that stalls is charged for all that had to wait
(no "coordinated omission"). It runs on asyncio's own loop over select(), whose timers are good to microseconds: those
of uvloop and epoll are good to one millisecond, which is more than what is measured. Latencies are written to the
output in milliseconds, as JSON.
"""

import asyncio
import os
import selectors
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import msgspec

_WARM_UP_S = 2.0
_MOST_CONNECTIONS = 512
_LENGTH = b"content-length: "


def run(port: int, requests: Sequence[bytes], *, rate: int, cores: set[int], seconds: float = 10.0) -> list[float]:
    """Latencies in milliseconds, sorted, of requests sent by another process. Raises: SystemExit on any failure."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(msgspec.json.encode([request.decode() for request in requests]))
        file.flush()
        command = [sys.executable, __file__, str(port), file.name, str(rate), str(seconds)]
        done = subprocess.run(
            command, capture_output=True, check=False, preexec_fn=lambda: os.sched_setaffinity(0, cores)
        )
    if done.returncode != 0:
        raise SystemExit(f"requests at a fixed rate failed: {done.stderr.decode()}")
    return sorted(msgspec.json.decode(done.stdout, type=list[float]))


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that a share (in percent) of the ordered values does not exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))]


class Client(asyncio.Protocol):
    """One connection, with at most one request on its way."""

    transport: asyncio.Transport

    def __init__(self, sender: "Sender") -> None:
        self.sender = sender
        self.buffer = b""
        self.due_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Note an answer that is whole."""
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        fields = head.lower()
        length = fields.partition(_LENGTH)[2].partition(b"\r")[0]
        if (len(body) < int(length)) if length else not body.endswith(b"0\r\n\r\n"):
            return
        self.buffer = b""
        self.sender.note(self, fields.split(b" ", 2)[1])

    def connection_lost(self, error: Exception | None) -> None:
        """A connection that goes in between is a failure."""
        self.sender.fail("the gateway closed a connection")


class Sender:
    """Sends on a free connection at each due moment, and notes how long after it the answer was there."""

    def __init__(self, port: int, requests: Sequence[bytes], rate: int, seconds: float) -> None:
        self.latencies_ms: list[float] = []
        self._port = port
        self._requests = requests
        self._interval_s = 1 / rate
        self._number = int(rate * seconds)
        self._free: deque[Client] = deque()
        self._waiting: deque[float] = deque()
        self._num_sent = 0
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()

    async def run(self) -> list[float]:
        """Send everything, wait for all answers, and give the latencies after the warm-up."""
        num_connections = min(_MOST_CONNECTIONS, max(16, self._number // 20))
        for _ in range(num_connections):
            _, client = await self._loop.create_connection(lambda: Client(self), "127.0.0.1", self._port)
            self._free.append(client)
        self._begin_s = self._loop.time() + 0.1
        self._loop.call_at(self._begin_s, self._tick, 0)
        await self._done
        return self.latencies_ms[int(_WARM_UP_S / self._interval_s) :]

    def note(self, client: Client, status: bytes) -> None:
        """Take an answer, and give its connection to whoever waits."""
        if status != b"200":
            self.fail(f"status {status.decode()}")
            return
        self.latencies_ms.append((self._loop.time() - client.due_s) * 1000)
        self._free.append(client)
        if self._waiting:
            self._send(self._waiting.popleft())
        if len(self.latencies_ms) == self._number and not self._done.done():
            self._done.set_result(None)

    def fail(self, why: str) -> None:
        """End the run."""
        if not self._done.done():
            self._done.set_exception(SystemExit(why))

    def _tick(self, number: int) -> None:
        due_s = self._begin_s + number * self._interval_s
        if number + 1 < self._number:
            self._loop.call_at(due_s + self._interval_s, self._tick, number + 1)
        if self._free:
            self._send(due_s)
        else:
            self._waiting.append(due_s)

    def _send(self, due_s: float) -> None:
        client = self._free.popleft()
        client.due_s = due_s
        client.transport.write(self._requests[self._num_sent % len(self._requests)])
        self._num_sent += 1


async def _main(port: int, file: str, rate: int, seconds: float) -> None:
    requests = [text.encode() for text in msgspec.json.decode(Path(file).read_bytes(), type=list[str])]
    latencies = await Sender(port, requests, rate, seconds + _WARM_UP_S).run()
    sys.stdout.buffer.write(msgspec.json.encode(latencies))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(_main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
