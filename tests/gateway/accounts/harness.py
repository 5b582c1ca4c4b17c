"""Gateways whose accounts can be read while they run, and tables with limits for them."""

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator
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
from modelyard.ports.limits import Caps, Key, Limits, SpendAlarm, Tenant
from modelyard.ports.routes import RouteTable, Service, Variant, encode_route_table
from tests.gateway.harness import AUTH, CHAT, KEY, Yard, answers, eventually, variant

AMPLE = Limits(
    requests_per_minute=60_000,
    burst=1000,
    tokens_per_minute=10**9,
    concurrency=1000,
    daily_nanousd=10**15,
    monthly_nanousd=10**16,
)
WHOLE = 11 * 1000 + 3 * 2000  # nano-dollars of the engine's usual answer, at the harness's price
CAPS = Caps()


def acme(**changes: Any) -> Tenant:
    return Tenant(name="acme", **changes)


def key(text: str = KEY, id: str = "key-1", tenant: str = "acme", **changes: Any) -> Key:
    return Key(id=id, hash=hashlib.sha256(text.encode()).hexdigest(), tenant=tenant, **changes)


def alarm(nanousd: int, action: Any = "stop") -> SpendAlarm:
    return SpendAlarm(nanousd_per_minute=nanousd, action=action)


class Accounts(Yard):
    """A yard whose gateway in a thread can be looked into."""

    listening: Listening
    loop: asyncio.AbstractEventLoop

    def offer(
        self, *services: Service, tenants: tuple[Tenant, ...] = (), keys: tuple[Key, ...] = (), wait: bool = True
    ) -> None:
        """Publish a table with tenants."""
        self.version += 1
        table = RouteTable(
            version=self.version, created_ms=now_ms(), services=services, keys=keys or (key(),), tenants=tenants
        )
        write_atomically(self.table, encode_route_table(table))
        if wait and self.url:
            eventually(lambda: self.ready_version() == self.version)

    @contextmanager
    def open(self, **settings: Any) -> Iterator["Accounts"]:
        made: list[Any] = []

        async def main(listener: Any) -> None:
            self.loop = asyncio.get_running_loop()
            self.listening = Listening(GatewaySettings(table=self.table, journal=self.journal, **settings))
            made.append(self.listening)
            await self.listening.serve([listener])

        with bind("127.0.0.1", 0) as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            thread = threading.Thread(target=run, args=(lambda: main(listener),), daemon=True)
            thread.start()
            try:
                eventually(lambda: answers(f"{self.url}/health"))
                yield self
            finally:
                self.loop.call_soon_threadsafe(self.listening.server.stop)
                thread.join(timeout=20)
                assert not thread.is_alive()

    def look(self, read: Callable[[Any], Any]) -> Any:
        """What `read` says of the gateway's permits, asked within its loop."""

        async def ask() -> Any:
            return read(self.listening.gateway.state.permits)

        return asyncio.run_coroutine_threadsafe(ask(), self.loop).result(10)

    def account(self, scope: str = "t:acme") -> dict[str, int]:
        def read(permits: Any) -> dict[str, int]:
            one = permits.subjects.accounts[scope.encode()]
            names = ("in_flight", "day_used", "day_spent", "month_used", "month_spent")
            return {"tokens": one.tokens + one.tokens_before, **{name: getattr(one, name) for name in names}}

        found: dict[str, int] = self.look(read)
        return found

    def settled(self, scope: str = "t:acme") -> dict[str, int]:
        """The account once nothing is in flight; it must be that of the journal."""
        eventually(lambda: self.account(scope)["in_flight"] == 0)
        found = self.account(scope)
        entries = [one for one in self.interactions() if not one.shadow_of]
        cost = sum(one.cost_nanousd for one in entries)
        tokens = sum(one.prompt_tokens + one.completion_tokens for one in entries if not one.cache)
        money = dict.fromkeys(("day_used", "day_spent", "month_used", "month_spent"), cost)
        assert found == {"tokens": tokens, "in_flight": 0, **money}
        return found

    def ask(self, text: str = KEY, stream: bool = False, headers: dict[str, str] | None = None, **body: Any) -> Any:
        given = {**AUTH, "authorization": f"Bearer {text}", **(headers or {})}
        return httpx.post(
            f"{self.url}/v1/chat/completions", json={**CHAT, "stream": stream, **body}, headers=given, timeout=30
        )


def named(name: str, url: str) -> Variant:
    """A variant that fallbacks can name."""
    return msgspec.structs.replace(variant(name, url), name=name)


def costs(entries: list[Interaction]) -> int:
    return sum(entry.cost_nanousd for entry in entries)
