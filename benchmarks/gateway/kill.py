"""The kill test: the gateway, the ingester and the store die at random, and every answer is in the records once.

    python benchmarks/gateway/kill.py --requests 1000000 [--kills 40] [--postgres] [--seed 1] [--json FILE]

Clients send whole and streamed requests of several tenants with limits, leave some in the middle, and note each answer
that came whole: its id, its tokens and its cost by the price of who gave it. Meanwhile each process gets SIGKILL at
random points of the run and is started again. At the end, when the ingester has caught up, the records are read:

- every answer that came whole is there once, with the tenant, tokens and cost that its client counted;
- what is there beyond these is no more than the requests whose clients saw a cut;
- the sums by tenant of requests, tokens and cost are equal.

The store is SQLite in the ingester's process, so that it dies with it, or with --postgres a private PostgreSQL with its
own durability settings. Exit code 0 where all of it holds.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import msgspec
import uvloop

import routes
from gateways import start_ours, upstream
from modelyard.adapters.records.store import open_records
from modelyard.core.errors import Unavailable
from modelyard.workflows.ingest import Ingester
from processes import Process, free_port
from store import Postgres, Sqlite, Store
from traffic import Client, Cut, Unreachable, request_of

TENANTS = 8
_CLIENTS = 32
_STREAM_EVERY = 20
_LEAVE_EVERY = 97
_RETRY_S = 0.02
_TELL_S = 5.0
_CATCH_UP_S = 900.0


class Sums(msgspec.Struct):
    """What a tenant used."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_nanousd: int = 0

    def add(self, prompt_tokens: int, completion_tokens: int, cost_nanousd: int) -> None:
        """Count one answer."""
        self.requests += 1
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
        self.cost_nanousd += cost_nanousd


class Verdict(msgspec.Struct, kw_only=True):
    """What the test found. `uncounted` are records of requests whose clients saw a cut, which may be there."""

    answers: int
    streams: int
    cuts: int
    kills: dict[str, int]
    records: int
    missing: int
    differing: int
    repeated_ids: int
    uncounted: int
    sums_equal: bool
    seconds: float
    requests_per_s: float
    catch_up_s: float
    cpu_ms_ingest: float
    passed: bool = False


Count = tuple[str, int, int, int]  # tenant, prompt tokens, completion tokens, nano-dollars


class Clients:
    """What the clients sent, and what came back whole."""

    def __init__(self, port: int, number: int) -> None:
        self.answers: dict[str, Count] = {}
        self.num_streams = 0
        self.num_cuts = 0
        self.num_repeated = 0
        self.refused: Counter[int] = Counter()
        self._known: dict[Count, Count] = {}
        self._port = port
        self._number = number

    async def run(self) -> None:
        """Send until so many answers came whole."""
        await asyncio.gather(*(self._client(number) for number in range(_CLIENTS)))

    async def _client(self, number: int) -> None:
        tenant, client, turn = number % TENANTS, Client(self._port), number
        whole, stream = (
            [request_of(tenant, user, stream=streamed) for user in range(16)] for streamed in (False, True)
        )
        while len(self.answers) < self._number:
            turn += 1
            streamed = turn % _STREAM_EVERY == 0
            try:
                if turn % _LEAVE_EVERY == 0:
                    self.num_cuts += 1
                    await client.leave_after(stream[turn % 16], 2000)
                    continue
                answer = await client.ask((stream if streamed else whole)[turn % 16])
                if answer.status != 200:
                    self.refused[answer.status] += 1
                    continue
                self._note(routes.tenant_name(tenant), *answer.count())
                self.num_streams += streamed
            except Cut:
                self.num_cuts += 1
            except Unreachable:
                await asyncio.sleep(_RETRY_S)
        client.close()

    def _note(self, tenant: str, id: str, *used: int) -> None:
        self.num_repeated += id in self.answers
        count = (tenant, used[0], used[1], used[2])
        self.answers[id] = self._known.setdefault(count, count)  # a few hundred differ: memory


class Yard:
    """The processes under test, and who kills them."""

    def __init__(self, folder: Path, store: Store, upstream_port: int, seed: int) -> None:
        self.folder = folder
        self.port = free_port()
        self.kills: Counter[str] = Counter()
        self.ingest_cpu_s = 0.0
        self._store = store
        self._upstream_port = upstream_port
        self._random = random.Random(seed)
        routes.write(folder / "routes.json", upstream_port, tenants=TENANTS)
        self._gateway = self._start_gateway()
        self._gateway.wait_for(self.port)
        self._ingester = self._start_ingester()

    def plan(self, requests: int, kills: int) -> list[tuple[int, str]]:
        """At how many answers which process is killed, in order."""
        victims = ["gateway", "ingester", *["store"] * self._store.own_process]
        plan = [(self._random.randrange(requests), victim) for victim in victims for _ in range(kills)]
        return sorted(plan)

    def kill(self, victim: str) -> None:
        """Kill a process and start it again."""
        self.kills[victim] += 1
        if victim == "gateway":
            self._gateway.kill()
            self._gateway = self._start_gateway()
        elif victim == "ingester":
            self.ingest_cpu_s += self._ingester.cpu_s()
            self._ingester.kill()
            self._ingester = self._start_ingester()
        else:
            self._store.kill()

    def finish(self) -> float:
        """End the gateway, then wait for the ingester to take in all of the journal; the seconds that took."""
        self._gateway.stop()
        began_s = time.monotonic()
        while not self._has_caught_up():
            if time.monotonic() - began_s > _CATCH_UP_S or not self._ingester.alive:
                raise SystemExit(f"the ingester did not catch up. The end of its log:\n{self._ingester.tail()}")
            time.sleep(0.2)
        return time.monotonic() - began_s

    def end(self) -> None:
        """End what runs."""
        self.ingest_cpu_s += self._ingester.cpu_s()
        for process in (self._gateway, self._ingester):
            process.kill()

    def _has_caught_up(self) -> bool:
        """False, too, while the store comes back from its last kill."""
        try:
            records = open_records(self._store.url)
            try:
                return records.interactions.ingested() >= self._journal_bytes()
            finally:
                records.close()
        except Unavailable:
            return False

    def _journal_bytes(self) -> int:
        """The bytes of whole lines: a torn last line, left by a kill, has no answer that came whole."""
        texts = (path.read_bytes() for path in (self.folder / "journal").glob("*.jsonl") if path.stem != "rejected")
        return sum(text.rfind(b"\n") + 1 for text in texts)

    def _start_gateway(self) -> Process:
        return start_ours(self.folder, self.port, self._upstream_port)

    def _start_ingester(self) -> Process:
        command = [sys.executable, Path(__file__).resolve(), "--ingest", self._store.url, str(self.folder / "journal")]
        environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
        return Process(command, self.folder / "ingester.log", environment=environment)


async def drive(clients: Clients, yard: Yard, plan: list[tuple[int, str]], requests: int) -> None:
    """Run the clients while the plan is carried out, and tell how far it is."""
    running = asyncio.create_task(clients.run())
    told_s = time.monotonic()
    while not running.done():
        while plan and plan[0][0] <= len(clients.answers):
            await asyncio.to_thread(yard.kill, plan.pop(0)[1])
        if time.monotonic() - told_s > _TELL_S:
            told_s = time.monotonic()
            deaths = ", ".join(f"{victim} killed {number}x" for victim, number in yard.kills.items())
            print(f"{len(clients.answers):,} of {requests:,}, {clients.num_cuts} cut; {deaths}", file=sys.stderr)
        await asyncio.sleep(0.01)
    await running


def check(url: str, clients: Clients) -> Verdict:
    """Read the records, and compare them with what the clients counted."""
    expected = {routes.tenant_name(number): Sums() for number in range(TENANTS)}
    found = {name: Sums() for name in expected}
    for tenant, *used in clients.answers.values():
        expected[tenant].add(*used)
    missing, differing, uncounted, num_records = set(clients.answers), 0, 0, 0
    records = open_records(url)
    for reviewed in records.interactions.between("support", since_ms=0, until_ms=1 << 60):
        one = reviewed.interaction
        num_records += 1
        counted = clients.answers.get(one.id)
        if counted is None:
            uncounted += 1
            continue
        missing.discard(one.id)
        found[one.tenant].add(one.prompt_tokens, one.completion_tokens, one.cost_nanousd)
        differing += counted != (one.tenant, one.prompt_tokens, one.completion_tokens, one.cost_nanousd)
    records.close()
    return Verdict(
        answers=len(clients.answers),
        streams=clients.num_streams,
        cuts=clients.num_cuts,
        kills={},
        records=num_records,
        missing=len(missing),
        differing=differing,
        repeated_ids=clients.num_repeated,
        uncounted=uncounted,
        sums_equal=expected == found,
        seconds=0.0,
        requests_per_s=0.0,
        catch_up_s=0.0,
        cpu_ms_ingest=0.0,
    )


def run(requests: int, kills: int, seed: int, store: Store, folder: Path) -> Verdict:
    """The whole test."""
    with upstream(folder) as upstream_port:
        yard = Yard(folder, store, upstream_port, seed)
        try:
            clients = Clients(yard.port, requests)
            began_s = time.monotonic()
            uvloop.run(drive(clients, yard, yard.plan(requests, kills), requests))
            seconds = time.monotonic() - began_s
            catch_up_s = yard.finish()
        finally:
            yard.end()
        print("reading the records ...", file=sys.stderr)
        verdict = check(store.url, clients)
    verdict.kills = dict(yard.kills)
    verdict.seconds, verdict.catch_up_s = round(seconds, 1), round(catch_up_s, 1)
    verdict.requests_per_s = round(verdict.answers / seconds)
    verdict.cpu_ms_ingest = round(yard.ingest_cpu_s * 1000 / max(1, verdict.records), 4)
    exact = not (verdict.missing or verdict.differing or verdict.repeated_ids) and verdict.sums_equal
    verdict.passed = exact and verdict.uncounted <= clients.num_cuts and not clients.refused
    if clients.refused:
        print(f"unexpected statuses: {dict(clients.refused)}", file=sys.stderr)
    return verdict


def main() -> int:
    """Run the test and print its verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=40, help="of each process")
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--ingest", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ingest:
        ingest(*options.ingest)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Postgres() if options.postgres else Sqlite(folder / "records.db") as store:
            verdict = run(options.requests, options.kills, options.seed, store, folder)
    text = msgspec.json.format(msgspec.json.encode(verdict)).decode()
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    print("passed" if verdict.passed else "FAILED", file=sys.stderr)
    return 0 if verdict.passed else 1


def ingest(url: str, journal: str) -> None:
    """The ingester's process: it opens the records as soon as they answer, and takes entries in until it is killed."""
    while True:
        try:
            Ingester(open_records(url), Path(journal)).run(threading.Event(), 0.1)
        except Exception as error:  # the store may be down at this very moment
            print(f"the ingester begins again: {error}", file=sys.stderr, flush=True)
            time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
