"""What the tests of limits share: tables of limits, clocks that are set by hand, a real Redis."""

import asyncio
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import redis

from modelyard.gateway.limits.calendar import Calendar
from modelyard.gateway.limits.local import LocalLimits
from modelyard.gateway.limits.subjects import Subjects
from modelyard.ports.interaction import Interaction
from modelyard.ports.limits import Limits, Tenant
from modelyard.ports.routes import Key, RouteTable, Service
from tests.gateway.harness import eventually, free_port, variant

NOON_S = 1_767_268_800.0  # 2026-01-01T12:00:00Z


def run_async(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that is a coroutine, run in a loop of its own."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class Clock:
    """A wall and a monotonic clock that go on together, when they are told to."""

    def __init__(self, wall_s: float = NOON_S) -> None:
        self.wall_s = wall_s
        self.now_s = 1000.0

    def pass_by(self, seconds: float) -> None:
        self.wall_s += seconds
        self.now_s += seconds

    def calendar(self) -> Calendar:
        return Calendar(lambda: self.now_s, lambda: self.wall_s)


NONE = Limits()


def table(tenant: Limits = NONE, user: Limits = NONE, key: Limits = NONE, service: Limits = NONE) -> RouteTable:
    """One tenant `acme` with one key `k1`, one service `support`."""
    return RouteTable(
        version=1,
        created_ms=0,
        tenants=(Tenant(name="acme", limits=tenant, user_limits=user),),
        keys=(Key(id="k1", hash="h", tenant="acme", limits=key),),
        services=(Service(name="support", champion=variant("a", "http://127.0.0.1:1"), limits=service),),
    )


def limits_of(routes: RouteTable, clock: Clock | None = None, *, max_users: int = 1000) -> LocalLimits:
    subjects = Subjects(clock.calendar() if clock else None, max_users=max_users)
    subjects.take_table(routes)
    return LocalLimits(subjects)


def spent(cost: int, at_ms: int, **changes: str) -> Interaction:
    """A journal's entry that cost something."""
    names = {"service": "support", "tenant": "acme", "key_id": "k1", "user": "ann", "unit": "u", "release": "r"}
    return Interaction(
        id="i", at_ms=at_ms, role="champion", propensity=1.0, table_version=1, cost_nanousd=cost, **{**names, **changes}
    )


class RedisServer:
    """A real redis-server on loopback, with its data in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder
        self.url = f"redis://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)]
        command += ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        eventually(self._answers)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def used(self, scope: str) -> dict[str, int]:
        """An account, as whole numbers."""
        with redis.Redis(port=self.port) as client:
            fields = client.hgetall(f"{{modelyard}}:a:{scope}")
            return {name.decode(): int(float(value)) for name, value in fields.items()}

    def running(self, scope: str) -> int:
        """How many leases a scope has."""
        with redis.Redis(port=self.port) as client:
            return int(client.zcard(f"{{modelyard}}:l:{scope}"))

    def flush(self) -> None:
        with redis.Redis(port=self.port) as client:
            client.flushall()

    def _answers(self) -> bool:
        try:
            with redis.Redis(port=self.port) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


@contextmanager
def serving_redis(folder: Path) -> Iterator[RedisServer]:
    server = RedisServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
