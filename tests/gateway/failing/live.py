"""A gateway whose inner state the tests look at: after whatever went wrong, nothing may be left."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec

from modelyard.core.clock import now_ms
from modelyard.core.files import write_atomically
from modelyard.gateway.http import bind, run
from modelyard.gateway.server import Listening
from modelyard.gateway.settings import GatewaySettings
from modelyard.ports.interaction import Interaction
from modelyard.ports.limits import Limits, Tenant
from modelyard.ports.routes import Key, RouteTable, Service, encode_route_table
from modelyard.ports.serving import Breaker, Timeouts
from tests.gateway.harness import AUTH, CHAT, KEY, Yard, answers, eventually, key_of, variant

HASTY = Timeouts(connect_s=0.5, first_token_s=0.6, between_tokens_s=0.5, total_s=30)
NEVER = Breaker(failures=0, error_share=1.0)
# One for all: each that is made reads the certificates of the world.
HTTP = httpx.Client(timeout=20)
SLOW_KEY, PRIOR_KEY = "sk-yard-other", "sk-yard-prior"


def service(url: str, **changes: Any) -> Service:
    """A service whose breaker never opens, unless a test wants it to."""
    base: dict[str, Any] = {"timeouts": HASTY, "breaker": NEVER, "body_policy": "hash"}
    fields = {"name": "support", "champion": variant("champ", url), **base}
    return Service(**{**fields, **changes})


class Live(Yard):
    """A gateway with accounts for everything, and its live objects."""

    listening: Listening
    loop: asyncio.AbstractEventLoop

    def publish(self, *services: Service, keys: tuple[Key, ...] | None = None, wait: bool = True) -> RouteTable:
        """As `Yard.publish`, with limits that account for every request and refuse none."""
        wide = Limits(concurrency=10_000, tokens_per_minute=1 << 40, daily_nanousd=1 << 60)
        other = msgspec.structs.replace(key_of(SLOW_KEY, id="key-2"), tenant="other")
        prior = msgspec.structs.replace(key_of(PRIOR_KEY, id="key-3"), tenant="prior")
        self.version += 1
        table = RouteTable(
            version=self.version,
            created_ms=now_ms(),
            services=services,
            keys=keys or (key_of(), other, prior),
            tenants=(Tenant(name="acme", limits=wide), Tenant(name="prior", limits=wide, priority=10)),
        )
        write_atomically(self.table, encode_route_table(table))
        if wait:
            eventually(lambda: self.ready_version() == self.version)
        return table

    def ready_version(self) -> int:
        answer = HTTP.get(f"{self.url}/ready")
        return answer.json()["table_version"] if answer.status_code == 200 else 0

    @contextmanager
    def open(self, **settings: Any) -> Iterator["Live"]:
        """The gateway in a thread, with its objects in reach."""
        made = threading.Event()

        async def main(listener: socket.socket) -> None:
            self.loop = asyncio.get_running_loop()
            self.listening = Listening(GatewaySettings(table=self.table, journal=self.journal, **settings))
            made.set()
            await self.listening.serve([listener])

        with bind("127.0.0.1", 0) as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            thread = threading.Thread(target=run, args=(lambda: main(listener),), daemon=True)
            thread.start()
            try:
                made.wait(10)
                eventually(lambda: answers(f"{self.url}/health"))
                yield self
            finally:
                self.stop()
                thread.join(timeout=20)
                assert not thread.is_alive()

    def stop(self) -> None:
        """What SIGTERM does."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.listening.server.stop)

    def leftovers(self) -> dict[str, Any]:
        """All that a request may hold while it goes on; what is empty is left out."""
        gateway = self.listening.gateway
        state, routes = gateway.state, gateway.state.table.routes
        assert routes is not None
        subjects = state.permits.subjects.of("acme", "key-1", "support", "")
        admissions = [route.chooser.admission for route in routes.services.values() if route.chooser.admission]
        replicas = [
            replica
            for route in routes.services.values()
            for candidate in route.chooser.candidates.values()
            for replica in candidate.replicas.all
        ]
        held = {
            "exchanges": len(gateway._exchanges.going_on),
            "gauge": sum(state.metrics.in_flight.values()),
            "concurrency": sum(subject.account.in_flight for subject in subjects),
            "busy": len(state.pool.busy),
            "engines": sum(replica.load.in_flight for replica in replicas),
            "places": sum(admission.in_flight for admission in admissions),
            "line": sum(admission.num_waiting for admission in admissions),
        }
        return {name: count for name, count in held.items() if count}

    def tokens_charged(self) -> int:
        """What the tenant's account holds for this minute and the last."""
        subject = self.listening.gateway.state.permits.subjects.of("acme", "key-1", "support", "")[0]
        return int(subject.account.tokens + subject.account.tokens_before)

    def settled(self) -> bool:
        """Whether nothing is left of any request; to be asserted, within seconds."""
        end: dict[str, Any] = {}

        def is_empty() -> bool:
            end.clear()
            end.update(self.leftovers())
            return not end

        try:
            eventually(is_empty, seconds=5)
        except AssertionError:
            raise AssertionError(f"still held: {end}") from None
        return True

    def recorded(self, count: int = 1) -> list[Interaction]:
        """The interactions, exactly so many."""
        found = self.interactions(count)
        assert len(found) == count, [(entry.status, entry.error) for entry in found]
        return found

    def chat(self, *, stream: bool = False, key: str = KEY, headers: Any = None, **fields: Any) -> httpx.Response:
        """Ask once."""
        body = {**CHAT, "stream": stream, **fields} if stream else {**CHAT, **fields}
        sent = {"authorization": f"Bearer {key}", **(headers or {})}
        return HTTP.post(f"{self.url}/v1/chat/completions", json=body, headers=sent)

    def connect(self, body: dict[str, Any], **headers: str) -> socket.socket:
        """A bare connection on which a request was sent."""
        data = msgspec.json.encode(body)
        host, port = self.url.removeprefix("http://").split(":")
        lines = {"host": "gateway", "content-length": str(len(data)), **AUTH, **headers}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
        sock = socket.create_connection((host, int(port)), timeout=20)
        sock.sendall(f"POST /v1/chat/completions HTTP/1.1\r\n{head}\r\n".encode() + data)
        return sock


def code_of(answer: httpx.Response) -> str:
    """The code of an error of OpenAI's shape, with all that such a one has."""
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert "127.0.0.1" not in answer.text
    return str(error["code"])


def events_of(answer: httpx.Response) -> list[str]:
    """The data of a stream's events."""
    return [line[6:] for line in answer.text.split("\n\n") if line.startswith("data: ")]
