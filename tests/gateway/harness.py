"""What the gateway's tests share: real servers on loopback, a route table on disk, a journal read back."""

import asyncio
import hashlib
import itertools
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import uvicorn

from modelyard.core.clock import now_ms
from modelyard.core.files import write_atomically
from modelyard.gateway.http import bind, run
from modelyard.gateway.server import Listening
from modelyard.gateway.settings import GatewaySettings
from modelyard.ports.interaction import Feedback, Interaction, JournalEntry
from modelyard.ports.limits import Tenant
from modelyard.ports.release import Sampling
from modelyard.ports.routes import Key, Price, RouteTable, Service, Variant, encode_route_table
from modelyard.ports.serving import Timeouts

KEY = "sk-yard-test"
AUTH = {"authorization": f"Bearer {KEY}"}
CHAT = {"model": "support", "messages": [{"role": "user", "content": "hello"}]}
PRICE = Price(input_nanousd=1_000_000_000, output_nanousd=2_000_000_000)


def key_of(text: str = KEY, *, expires_ms: int = 0, id: str = "key-1") -> Key:
    return Key(id=id, hash=hashlib.sha256(text.encode()).hexdigest(), tenant="acme", expires_ms=expires_ms)


def variant(name: str, url: str, **changes: Any) -> Variant:
    sampling = Sampling(temperature=0.25, top_p=0.5, max_tokens=77)
    fields = {"sampling": sampling, "price": PRICE, **changes}
    return Variant(release=f"sha256:{name}", ref=f"{name}@123", engine_url=url, model=name, **fields)


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Any ASGI app on an ephemeral port, as its URL."""
    config = uvicorn.Config(app, lifespan="off", log_config=None, ws="none", timeout_graceful_shutdown=1)
    with bind("127.0.0.1", 0) as listener, running(PromptServer(config), listener):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


class PromptServer(uvicorn.Server):
    """One that looks ten times as often whether it shall end: hundreds of tests wait for that."""

    async def main_loop(self) -> None:
        ticks = itertools.count()
        while not await self.on_tick(next(ticks)):  # noqa: ASYNC110 - as the one that it replaces
            await asyncio.sleep(0.01)


@contextmanager
def running(server: uvicorn.Server, listener: socket.socket) -> Iterator[None]:
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    eventually(lambda: server.started)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        assert not thread.is_alive()


@contextmanager
def in_thread(settings: GatewaySettings) -> Iterator[str]:
    """A gateway on a loop of its own, as its URL."""
    made: list[tuple[asyncio.AbstractEventLoop, Listening]] = []

    async def main(listener: socket.socket) -> None:
        listening = Listening(settings)
        made.append((asyncio.get_running_loop(), listening))
        await listening.serve([listener])

    with bind("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=run, args=(lambda: main(listener),), daemon=True)
        thread.start()
        try:
            eventually(lambda: answers(f"{url}/health"))
            yield url
        finally:
            loop, listening = made[0]
            loop.call_soon_threadsafe(listening.server.stop)
            thread.join(timeout=20)
            assert not thread.is_alive()


def eventually(condition: Callable[[], Any], *, seconds: float = 20.0) -> Any:
    """Wait for something to become true, and give it back."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"not true after {seconds} s")


def read_entries(folder: Path) -> list[JournalEntry]:
    """Every whole line of a journal."""
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines(keepends=True)]
    return [msgspec.json.decode(line, type=JournalEntry) for line in lines if line.endswith(b"\n")]


def free_port() -> int:
    with bind("127.0.0.1", 0) as listener:
        return int(listener.getsockname()[1])


class Yard:
    """A gateway with its table and journal. `publish` writes a table, `client` speaks to it."""

    def __init__(self, folder: Path) -> None:
        self.table = folder / "routes.json"
        self.journal = folder / "journal"
        self.version = 0
        self.url = ""
        self.timeouts: Timeouts | None = None

    def publish(
        self,
        *services: Service,
        keys: tuple[Key, ...] | None = None,
        tenants: tuple[Tenant, ...] = (),
        wait: bool = True,
    ) -> RouteTable:
        self.version += 1
        if self.timeouts is not None:
            services = tuple(msgspec.structs.replace(service, timeouts=self.timeouts) for service in services)
        table = RouteTable(
            version=self.version,
            created_ms=now_ms(),
            services=services,
            keys=(key_of(),) if keys is None else keys,
            tenants=tenants,
        )
        write_atomically(self.table, encode_route_table(table))
        if wait and self.url:
            eventually(lambda: self.ready_version() == self.version)
        return table

    def ready_version(self) -> int:
        answer = httpx.get(f"{self.url}/ready")
        return answer.json()["table_version"] if answer.status_code == 200 else 0

    def post(self, path: str = "/v1/chat/completions", json: Any = None, **options: Any) -> httpx.Response:
        return httpx.post(self.url + path, json=CHAT if json is None else json, headers=AUTH, **options)

    def metrics(self) -> str:
        return httpx.get(f"{self.url}/metrics").text

    def metric(self, name: str) -> float:
        lines = [line for line in self.metrics().splitlines() if line.startswith(f"modelyard_gateway_{name}")]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def interactions(self, count: int = 0) -> list[Interaction]:
        """The interactions so far, oldest first; waits until there are at least `count`."""

        def read() -> list[Interaction]:
            return [entry for entry in read_entries(self.journal) if isinstance(entry, Interaction)]

        if count:
            eventually(lambda: len(read()) >= count)
        return read()

    def feedback(self) -> list[Feedback]:
        return [entry for entry in read_entries(self.journal) if isinstance(entry, Feedback)]

    @contextmanager
    def open(self, **settings: Any) -> Iterator["Yard"]:
        """The gateway in a thread."""
        with in_thread(GatewaySettings(table=self.table, journal=self.journal, **settings)) as url:
            self.url = url
            yield self

    @contextmanager
    def spawn(self, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
        """The gateway as its own process."""
        port = free_port()
        command = [sys.executable, "-m", "modelyard.gateway.server", "--port", str(port)]
        command += ["--table", str(self.table), "--journal", str(self.journal), *flags]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            self.url = f"http://127.0.0.1:{port}"
            try:
                eventually(lambda: answers(f"{self.url}/health"))
                yield process
            finally:
                process.kill()


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False
