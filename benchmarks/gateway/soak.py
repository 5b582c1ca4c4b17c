"""A day in the gateway's life, in half an hour: mixed traffic, and whether its memory stays flat.

    python benchmarks/gateway/soak.py --minutes 30 [--json FILE]

Clients send whole requests and streams, leave in the middle of both, send what is refused (no key, an unknown model,
broken JSON, a wrong path), and give feedback on answers; the route table is swapped every few seconds. Resident memory
is read from /proc every two seconds. The line through the samples after the first fifth of the time (least squares) is
the growth. Exit code 0 where nothing failed that should not have.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import linear_regression

import msgspec
import uvloop

import routes
import wire
from gateways import OURS, Gateway, running, upstream
from traffic import Client, Cut, Unreachable, request_of

_TENANTS = 50
_CLIENTS = 16
_SAMPLE_S = 2.0
_SWAP_S = 5.0
_TELL_S = 30.0
_PAUSE_S = 0.01
_WARM_UP = 0.2
_MANY_BYTES = 3000


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. `failures` are outcomes that were not the expected ones."""

    minutes: float
    outcomes: dict[str, int]
    failures: dict[str, int]
    table_swaps: int
    first_mb: float
    last_mb: float
    peak_mb: float
    growth_mb_per_hour: float
    cpu_ms_per_request: float


class Traffic:
    """The clients. `outcomes` counts what happened as it should, `failures` what did not."""

    def __init__(self, port: int, until_s: float) -> None:
        self.outcomes: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self._port = port
        self._until_s = until_s
        body = wire.request_body(stream=False)
        key = {"authorization": f"Bearer {routes.secret(0)}"}
        unknown = wire.request_body(stream=False, model="nothing")
        self._refused = [
            (401, wire.request(body, {"authorization": "Bearer sk-wrong"})),
            (404, wire.request(unknown, key)),
            (404, wire.request(body, key, path="/v1/nothing")),
            (400, wire.request(b'{"model": "support", "messages": [', key)),
            (400, wire.request(b'{"model": "support", "messages": []}', key)),
        ]

    async def client(self, number: int) -> None:
        """One client's day."""
        chance, client = random.Random(number), Client(self._port)
        acts = (self._whole, self._stream, self._leave, self._refuse, self._judge)
        while time.monotonic() < self._until_s:
            act = chance.choices(acts, weights=(50, 20, 10, 10, 10))[0]
            try:
                await act(client, chance)
            except (Cut, Unreachable) as error:
                self.failures[f"{act.__name__[1:]}: {error!r}"] += 1
            await asyncio.sleep(_PAUSE_S)
        client.close()

    async def _whole(self, client: Client, chance: random.Random) -> None:
        await self._expect(client, "whole", 200, self._request(chance, stream=False))

    async def _stream(self, client: Client, chance: random.Random) -> None:
        await self._expect(client, "stream", 200, self._request(chance, stream=True))

    async def _leave(self, client: Client, chance: random.Random) -> None:
        request = self._request(chance, stream=chance.random() < 0.7)
        await client.leave_after(request, chance.randrange(1, _MANY_BYTES))
        self.outcomes["left"] += 1

    async def _refuse(self, client: Client, chance: random.Random) -> None:
        status, request = chance.choice(self._refused)
        await self._expect(client, "refused", status, request)

    async def _judge(self, client: Client, chance: random.Random) -> None:
        tenant = chance.randrange(_TENANTS)
        answer = await client.ask(request_of(tenant, chance.randrange(100), stream=False))
        body = msgspec.json.encode({"id": answer.count()[0], "score": chance.random()})
        key = {"authorization": f"Bearer {routes.secret(tenant)}"}
        await self._expect(client, "feedback", 2, wire.request(body, key, path="/v1/feedback"))

    def _request(self, chance: random.Random, *, stream: bool) -> bytes:
        return request_of(chance.randrange(_TENANTS), chance.randrange(1000), stream=stream)

    async def _expect(self, client: Client, what: str, status: int, request: bytes) -> None:
        """Ask, and count. A status below 10 stands for its hundred."""
        seen = (await client.ask(request)).status
        if status in (seen, seen // 100):
            self.outcomes[what] += 1
        else:
            self.failures[f"{what}: status {seen} instead of {status}"] += 1


async def swap_tables(path: Path, upstream_port: int, until_s: float) -> int:
    """Publish a new table every few seconds, larger and smaller in turn; how many."""
    version = 1
    while time.monotonic() < until_s:
        version += 1
        routes.write(path, upstream_port, tenants=_TENANTS, services=1 + version % 2 * 20, version=version)
        await asyncio.sleep(_SWAP_S)
    return version - 1


async def sample(gateway: Gateway, traffic: Traffic, until_s: float) -> list[tuple[float, float]]:
    """The resident megabytes by the second, and what is heard of it meanwhile."""
    began_s = told_s = time.monotonic()
    samples = []
    while (now_s := time.monotonic()) < until_s:
        samples.append((now_s - began_s, gateway.process.resident_mb()))
        if now_s - told_s > _TELL_S:
            told_s = now_s
            sent, failed = traffic.outcomes.total(), traffic.failures.total()
            print(f"{now_s - began_s:.0f} s: {sent:,} sent, {failed} failed, {samples[-1][1]:.1f} MB", file=sys.stderr)
        await asyncio.sleep(_SAMPLE_S)
    return samples


async def live(gateway: Gateway, folder: Path, upstream_port: int, minutes: float) -> Report:
    """Run everything for some minutes."""
    until_s = time.monotonic() + 60 * minutes
    traffic = Traffic(gateway.port, until_s)
    async with asyncio.TaskGroup() as group:
        samples_of = group.create_task(sample(gateway, traffic, until_s))
        swaps = group.create_task(swap_tables(folder / "routes.json", upstream_port, until_s))
        for number in range(_CLIENTS):
            group.create_task(traffic.client(number))
    samples = samples_of.result()
    settled = samples[int(len(samples) * _WARM_UP) :]
    slope = linear_regression([at_s for at_s, _ in settled], [mb for _, mb in settled]).slope
    return Report(
        minutes=minutes,
        outcomes=dict(traffic.outcomes),
        failures=dict(traffic.failures),
        table_swaps=swaps.result(),
        first_mb=round(settled[0][1], 1),
        last_mb=round(settled[-1][1], 1),
        peak_mb=round(max(mb for _, mb in samples), 1),
        growth_mb_per_hour=round(slope * 3600, 2),
        cpu_ms_per_request=round(gateway.process.cpu_s() * 1000 / traffic.outcomes.total(), 3),
    )


def main() -> int:
    """Run the soak and print its report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, upstream(Path(name)) as upstream_port:
        folder = Path(name)
        routes.write(folder / "routes.json", upstream_port, tenants=_TENANTS)
        with running(OURS, folder, upstream_port) as gateway:
            report = uvloop.run(live(gateway, folder, upstream_port, options.minutes))
            fell = not gateway.process.alive
    text = msgspec.json.format(msgspec.json.encode(report)).decode()
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    return 1 if report.failures or fell else 0


if __name__ == "__main__":
    sys.exit(main())
