"""The gateway beside its peers: same machine, same upstream, same client, in one run.

    python benchmarks/gateway/compare.py [--requests 20000] [--rounds 3] [--only modelyard,nginx] [--json FILE]

Whole answers, streams of 66 chunks written at once one by one (`burst`) and a millisecond apart (`paced`): CPU of all
of a gateway's processes by request, user and system, from /proc; requests a second; the largest resident memory. Then
what it adds to the time of a request at a fixed rate, on one core: the upstream and the client have the other one. The
gateways take turns in rounds; the table has medians, and the spread over the rounds. Any answer that is not 2xx, and
any connection that breaks, ends the run. Peers that benchmarks/peers/setup_gateway.sh did not install are left out.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import msgspec

import pace
import wrk
from gateways import KINDS, OURS, Gateway, Kind, running, upstream
from processes import Peak

WORKLOADS = ("whole", "burst", "paced")
_PACE_MS = 1.0
_CONNECTIONS = {"whole": 16, "burst": 16, "paced": 64}
_STREAMS_SHARE = 0.1
_LEAST = 100


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What one gateway took for one kind of work in one round. Latencies are added by it, in milliseconds."""

    gateway: str
    work: str
    round: int
    requests: int
    cpu_ms: float = 0.0
    per_s: float = 0.0
    peak_mb: float = 0.0
    rate: int = 0
    added_p50_ms: float = 0.0
    added_p99_ms: float = 0.0


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000, help="whole ones by round; streams are a tenth of it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="names of gateways, with commas")
    parser.add_argument("--no-latency", action="store_true")
    parser.add_argument("--json", type=Path, help="a file for every row")
    options = parser.parse_args()
    kinds = _chosen(options.only)
    rows: list[Row] = []
    for number in range(1, options.rounds + 1):
        for kind in kinds:
            rows += run_round(kind, number, options.requests, latency=not options.no_latency)
    print(table(rows))
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(rows)))


def _chosen(only: str) -> list[Kind]:
    for kind in KINDS:
        if not kind.there:
            made = "make compiled" if kind is OURS else "bash benchmarks/peers/setup_gateway.sh"
            print(f"{kind.name} is left out: '{made}' makes it", file=sys.stderr)
    return [kind for kind in KINDS if kind.there and (not only or kind.name in only.split(","))]


def run_round(kind: Kind, number: int, requests: int, *, latency: bool) -> Iterator[Row]:
    """Everything once for one gateway, freshly started for each kind of work."""
    for work in WORKLOADS:
        print(f"round {number}: {kind.name}, {work} ...", file=sys.stderr)
        share = kind.share * (1.0 if work == "whole" else _STREAMS_SHARE)
        yield measure(kind, work, number, max(_LEAST, int(requests * share)))
    if latency:
        print(f"round {number}: {kind.name}, {kind.rate} requests a second ...", file=sys.stderr)
        yield measure_latency(kind, number)


def measure(kind: Kind, work: str, number: int, requests: int) -> Row:
    """CPU, speed and memory for one kind of work."""
    with (
        tempfile.TemporaryDirectory() as name,
        upstream(Path(name), pace_ms=_PACE_MS * (work == "paced")) as port,
        running(kind, Path(name) / kind.name, port) as gateway,
    ):
        return _drive(gateway, work, number, requests)


def _drive(gateway: Gateway, work: str, number: int, requests: int) -> Row:
    sent = gateway.requests(stream=work != "whole")
    # One request a connection is cut off at the end, and its CPU is counted: they must be few beside the others.
    connections = min(_CONNECTIONS[work], max(2, requests // 40))
    wrk.drive(gateway.port, sent, number=max(_LEAST, requests // 10), connections=connections)
    before_s = gateway.process.cpu_s()
    with Peak(gateway.process) as peak:
        told = wrk.drive(gateway.port, sent, number=requests, connections=connections)
    return Row(
        gateway=gateway.kind.name,
        work=work,
        round=number,
        requests=told.requests,
        cpu_ms=(gateway.process.cpu_s() - before_s) * 1000 / told.requests,
        per_s=told.requests * 1e6 / told.duration_us,
        peak_mb=peak.mb,
    )


def measure_latency(kind: Kind, number: int) -> Row:
    """What a gateway on one core adds to the latency of whole answers that are asked for at a fixed rate."""
    cores = sorted(os.sched_getaffinity(0))
    one, others = {cores[0]}, set(cores[1:]) or {cores[0]}
    with (
        tempfile.TemporaryDirectory() as name,
        upstream(Path(name), cores=others) as port,
        running(kind, Path(name) / kind.name, port, cores=one) as gateway,
    ):
        sent = gateway.requests(stream=False)
        straight = pace.run(port, sent, rate=kind.rate, cores=others)
        through = pace.run(gateway.port, sent, rate=kind.rate, cores=others)
    return Row(
        gateway=kind.name,
        work="latency",
        round=number,
        requests=len(through),
        rate=kind.rate,
        added_p50_ms=pace.percentile(through, 50) - pace.percentile(straight, 50),
        added_p99_ms=pace.percentile(through, 99) - pace.percentile(straight, 99),
    )


def table(rows: Sequence[Row]) -> str:
    """The medians as Markdown, with the spread over the rounds and the ratios to the router and to the floor."""
    lines = [
        "| gateway | work | CPU ms | least-most | to vllm-router | to nginx | requests/s | peak MB |",
        "|---" * 8 + "|",
    ]
    names = list(dict.fromkeys(row.gateway for row in rows))
    for work in WORKLOADS:
        cost = {name: median(_of(rows, name, work, "cpu_ms")) for name in names}
        for name in names:
            spread = _of(rows, name, work, "cpu_ms")
            beside = [f"{cost[name] / cost[peer]:.2f}" if cost.get(peer) else "" for peer in ("vllm-router", "nginx")]
            cells = [name, work, f"{cost[name]:.3f}", f"{min(spread):.3f}-{max(spread):.3f}", *beside]
            cells += [
                f"{median(_of(rows, name, work, 'per_s')):.0f}",
                f"{median(_of(rows, name, work, 'peak_mb')):.0f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    if any(row.work == "latency" for row in rows):
        lines += ["", "| gateway | at requests/s | added p50 ms | added p99 ms | least-most p99 |", "|---" * 5 + "|"]
        lines += [_latency_line(rows, name) for name in names]
    return "\n".join(lines)


def _latency_line(rows: Sequence[Row], name: str) -> str:
    rate = next(row.rate for row in rows if row.gateway == name and row.rate)
    p50, p99 = (_of(rows, name, "latency", f"added_p{number}_ms") for number in (50, 99))
    return f"| {name} | {rate} | {median(p50):.3f} | {median(p99):.3f} | {min(p99):.3f}-{max(p99):.3f} |"


def _of(rows: Sequence[Row], gateway: str, work: str, field: str) -> list[float]:
    return [getattr(row, field) for row in rows if row.gateway == gateway and row.work == work]


if __name__ == "__main__":
    main()
