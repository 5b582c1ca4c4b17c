"""Whether a request costs more where there is much of everything: tenants and services, or streams at once.

    python benchmarks/gateway/scale.py [--requests 20000] [--streams 5000] [--rounds 3] [--json FILE]

Tables: 1 tenant and 1 service against 10,000 tenants (with a key each) and 1,000 services, requests going to all
services in turn. Streams: as many chunks a second each time, from 50 streams at once, on connections that are kept, and
from 5,000, each on a new one; nginx beside ours, as the system's own share grows too. CPU of the process by request,
medians over rounds that take turns; resident memory at its largest.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path
from statistics import median

import msgspec
import uvloop

import routes
import wire
import wrk
from gateways import NGINX, OURS, Kind, running, upstream
from processes import Peak, raise_file_limit
from traffic import Client, request_of

_TENANTS, _SERVICES = 10_000, 1_000
_FEW = 50
_STREAM_S = 10.0  # how long each of the many streams takes
_OPENED_AT_ONCE = 200


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One case in one round."""

    case: str
    round: int
    cpu_ms: float
    peak_mb: float


def measure_tables(number: int, requests: int, tenants: int, services: int) -> Row:
    """Whole answers with a table of some size."""
    with tempfile.TemporaryDirectory() as name, upstream(Path(name)) as port:
        folder = Path(name)
        routes.write(folder / "routes.json", port, tenants=tenants, services=services)
        with running(OURS, folder, port) as gateway, Peak(gateway.process) as peak:
            sent = [_request(turn, tenants, services) for turn in range(max(64, services))]
            wrk.drive(gateway.port, sent, number=requests // 10, connections=16)
            before_s = gateway.process.cpu_s()
            told = wrk.drive(gateway.port, sent, number=requests, connections=16)
            cpu_ms = (gateway.process.cpu_s() - before_s) * 1000 / told.requests
    return Row(case=f"{tenants:,} tenants, {services:,} services", round=number, cpu_ms=cpu_ms, peak_mb=peak.mb)


def _request(turn: int, tenants: int, services: int) -> bytes:
    name = routes.service_name(turn % services)
    body = wire.request_body(stream=False, user=f"user-{turn % 64}", model=name)
    return wire.request(body, {"authorization": f"Bearer {routes.secret(turn * 7 % tenants)}"})


def measure_streams(kind: Kind, number: int, streams: int, at_once: int) -> Row:
    """So many streams in all, some at once, at a pace that makes as many chunks a second whatever that number."""
    pace_ms = _STREAM_S * 1000 / wire.NUM_CHUNKS * at_once / streams
    with (
        tempfile.TemporaryDirectory() as name,
        upstream(Path(name), pace_ms=pace_ms) as port,
        running(kind, Path(name) / kind.name, port) as gateway,
        Peak(gateway.process) as peak,
    ):
        uvloop.run(_hold(gateway.port, _FEW, _FEW))
        before_s = gateway.process.cpu_s()
        uvloop.run(_hold(gateway.port, streams, at_once))
        cpu_ms = (gateway.process.cpu_s() - before_s) * 1000 / streams
    return Row(case=f"{kind.name}: {at_once:,} streams at once", round=number, cpu_ms=cpu_ms, peak_mb=peak.mb)


async def _hold(port: int, streams: int, at_once: int) -> None:
    """Have some streams open at any time until there were so many. Raises: SystemExit where one fails."""

    async def one(number: int) -> None:
        await asyncio.sleep(number / _OPENED_AT_ONCE / 10)
        client = Client(port)
        for _ in range(streams // at_once):
            answer = await client.ask(request_of(0, number % 64, stream=True))
            if answer.status != 200:
                raise SystemExit(f"a stream got status {answer.status}: {answer.body[:200]!r}")
            if not answer.body.endswith(b"data: [DONE]\n\n"):
                raise SystemExit("a stream ended before its end")
        client.close()

    await asyncio.gather(*(one(number) for number in range(at_once)))


def table(rows: list[Row]) -> str:
    """The medians as Markdown; each case beside the first of its kind."""
    lines = ["| case | CPU ms | least-most | to the small case | peak MB |", "|---" * 5 + "|"]
    cases = list(dict.fromkeys(row.case for row in rows))
    for index, case in enumerate(cases):
        costs = [row.cpu_ms for row in rows if row.case == case]
        small = median(row.cpu_ms for row in rows if row.case == cases[index - index % 2])
        peak = max(row.peak_mb for row in rows if row.case == case)
        spread = f"{min(costs):.3f}-{max(costs):.3f}"
        lines.append(f"| {case} | {median(costs):.3f} | {spread} | {median(costs) / small:.2f} | {peak:.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--streams", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    raise_file_limit()
    rows = []
    for number in range(1, options.rounds + 1):
        print(f"round {number} of {options.rounds}: tables, then streams ...", flush=True)
        rows.append(measure_tables(number, options.requests, 1, 1))
        rows.append(measure_tables(number, options.requests, _TENANTS, _SERVICES))
        for kind in (OURS, NGINX):
            if kind.there:
                rows.append(measure_streams(kind, number, options.streams, _FEW))
                rows.append(measure_streams(kind, number, options.streams, options.streams))
    print(table(rows))
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(rows)))


if __name__ == "__main__":
    main()
