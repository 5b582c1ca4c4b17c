"""What limits cost: CPU of this process by take and settle, in process and through Redis, for one and 10,000 tenants.

Run: `python benchmarks/gateway/limits.py [--requests 100000] [--json]`. Every request counts against four subjects
(tenant, key, user, service), each with all five limits. It starts a redis-server of its own.
"""

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import uvloop

from modelyard.gateway.limits.local import LocalLimits
from modelyard.gateway.limits.shared import SharedLimits, SharedSettings
from modelyard.gateway.limits.subjects import Subject, Subjects
from modelyard.ports.limits import Limits, Tenant
from modelyard.ports.routes import Key, RouteTable, Service, Variant

LIMITS = Limits(
    requests_per_minute=60_000_000,
    burst=1_000_000,
    tokens_per_minute=10**12,
    concurrency=10_000,
    daily_nanousd=10**15,
    monthly_nanousd=10**15,
)
ROUNDS = 5
REDIS_REQUESTS = 8_000


def limits_of(tenants: int) -> tuple[LocalLimits, list[tuple[Subject, ...]]]:
    """Limits, and the subjects of one request of each tenant."""
    variant = Variant(release="r", ref="r", engine_url="http://127.0.0.1:1", model="m")
    table = RouteTable(
        version=1,
        created_ms=0,
        tenants=tuple(Tenant(name=f"t{n}", limits=LIMITS, user_limits=LIMITS) for n in range(tenants)),
        keys=tuple(Key(id=f"k{n}", hash=str(n), tenant=f"t{n}", limits=LIMITS) for n in range(tenants)),
        services=(Service(name="s", champion=variant, limits=LIMITS),),
    )
    subjects = Subjects()
    subjects.take_table(table)
    return LocalLimits(subjects), [subjects.of(f"t{n}", f"k{n}", "s", f"user{n}") for n in range(tenants)]


def local_us(tenants: int, requests: int, hot: int) -> float:
    """Microseconds by take and settle; the least of some rounds. The requests are those of `hot` of the tenants."""
    limits, given = limits_of(tenants)
    given = given[:: tenants // hot]
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for number in range(requests):
            limits.take(given[number % hot], 500, 1000).settle(400, 800)
        took = time.process_time() - began
        began = time.process_time()
        for number in range(requests):
            given[number % hot]
        best = min(best, took - (time.process_time() - began))
    return best / requests * 1e6


async def redis_us(url: str, tenants: int, clients: int) -> float:
    """Microseconds by take and settle of so many clients at once."""
    local, given = limits_of(tenants)
    limits = SharedLimits(SharedSettings(url=url, timeout_s=5.0), local)
    await limits.start()
    for subjects in given:
        for subject in subjects:
            limits.keys.arguments(subject)

    async def client(first: int) -> None:
        for number in range(first, REDIS_REQUESTS, clients):
            grant = await limits.take(given[number % tenants], 500, 1000)
            grant.settle(400, 800)

    began = time.process_time()
    await asyncio.gather(*[client(first) for first in range(clients)])
    took = time.process_time() - began
    if limits.num_without_redis:
        raise SystemExit("Redis did not keep up: the figures would be those of the fallback")
    await limits.close()
    return took / REDIS_REQUESTS * 1e6


@contextmanager
def redis_server() -> Iterator[str]:
    """A redis-server on a free port, without a disk."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", folder]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                while True:
                    try:
                        socket.create_connection(("127.0.0.1", port), timeout=0.1).close()
                        break
                    except OSError:
                        time.sleep(0.02)
                yield f"redis://127.0.0.1:{port}"
            finally:
                process.terminate()


def measure(requests: int) -> Iterator[dict[str, Any]]:
    """One row a case."""
    for tenants, hot in ((1, 1), (10_000, 1), (10_000, 100), (10_000, 10_000)):
        yield {"where": "process", "tenants": tenants, "hot": hot, "us": local_us(tenants, requests, hot)}
    with redis_server() as url:
        for tenants, clients in ((1, 1), (1, 8), (1, 64), (10_000, 64)):
            took = uvloop.run(redis_us(url, tenants, clients))
            yield {"where": "redis", "tenants": tenants, "clients": clients, "us": took}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    rows = []
    for row in measure(options.requests):
        rows.append(row)
        if not options.json:
            print(", ".join(f"{k} {v:,.2f}" if k == "us" else f"{k} {v}" for k, v in row.items()), flush=True)
    if options.json:
        print(json.dumps(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
