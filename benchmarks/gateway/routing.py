"""What routing costs a request: nanoseconds of CPU for each of its steps, median of repeated runs.

Run: `python benchmarks/gateway/routing.py [--json]`. A request takes one row of each block: `choose`, `pick and finish`
and, where the service has a bound, `enter and leave`.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

from modelyard.gateway.routing.admission import Admission
from modelyard.gateway.routing.plan import Plan
from modelyard.gateway.routing.readings import METRIC_NAMES, Wanted
from modelyard.gateway.routing.replicas import affinity_key
from modelyard.gateway.routing.rules import Facts
from modelyard.ports.routes import RouteTable, Service, Variant
from modelyard.ports.serving import Condition, Preference, Queue, Rule

RUNS, CALLS = 9, 5000
PAGE = Path(__file__).parents[2] / "tests/gateway/routing/pages/vllm-0.32.txt"
FACTS = [
    Facts(
        unit=f"user-{index}", tenant=f"tenant-{index % 50}", user=f"user-{index}@acme.com", headers={b"x-plan": b"free"}
    )
    for index in range(1000)
]
RULES = (
    Rule(name="staff", variant="int8", when=(Condition(attribute="tenant", values=("staff",)),)),
    Rule(name="gold", variant="int8", when=(Condition(attribute="header:x-plan", values=("gold",)),)),
    Rule(
        name="pilot",
        variant="int8",
        when=(Condition(attribute="user", op="matches", values=(r"^[^@]+@pilot\.com$",)),),
    ),
)


def variant(name: str, replicas: int = 1) -> Variant:
    urls = tuple(f"http://{name}-{index}:8000" for index in range(replicas))
    return Variant(
        release=name, ref=name, engine_url=urls[0], model=name, name=name, replicas=urls[1:], engine="vllm", quality=0.9
    )


def service(name: str = "support", replicas: int = 1, **changes: object) -> Service:
    return Service(name=name, **{"champion": variant("champion", replicas), "salt": "s", **changes})


def plan(*services: Service) -> Plan:
    return Plan(RouteTable(version=1, created_ms=0, services=services))


def cost_ns(step: Callable[[], object]) -> float:
    """CPU of one call, the loop around it taken off."""
    runs = []
    for _ in range(RUNS):
        began = time.process_time_ns()
        for _ in range(CALLS):
            step()
        middle = time.process_time_ns()
        for _ in range(CALLS):
            pass
        runs.append((middle - began - (time.process_time_ns() - middle)) / CALLS)
    return statistics.median(runs)


def choosing() -> Iterator[tuple[str, Callable[[], object]]]:
    int8 = (variant("int8"),)
    preference = Preference(order=("int8", "champion"), max_queue=8, min_quality=0.5)
    rollout = {"challenger": variant("challenger"), "weight_bp": 1000}
    for name, changes in {
        "champion alone": {},
        "a rollout": rollout,
        "three rules that do not fire": {"rules": RULES, "variants": int8},
        "three rules and a rollout": {"rules": RULES, "variants": int8, **rollout},
        "a preference": {"variants": int8, "preference": preference},
    }.items():
        route = plan(service(**changes)).services["support"]
        for candidate in route.candidates.values():
            candidate.replicas.all[0].load.take((1.0, 1.0, 0.1), 1e12)
        facts = cycle(FACTS)
        yield f"choose: {name}", lambda route=route, facts=facts: route.choose(next(facts), time.monotonic())


def choosing_of_many() -> Iterator[tuple[str, Callable[[], object]]]:
    routes = plan(*(service(f"service-{index}", rules=RULES, variants=(variant("int8"),)) for index in range(1000)))
    names, facts = cycle(routes.services), cycle(FACTS)
    yield (
        "choose: three rules, one of 1,000 services",
        lambda: routes.services[next(names)].choose(next(facts), time.monotonic()),
    )


def picking() -> Iterator[tuple[str, Callable[[], object]]]:
    keys = [affinity_key(f"session-{index}") for index in range(1000)]
    for count in (1, 2, 8, 64):
        replicas = plan(service(replicas=count)).services["support"].candidates["champion"].replicas
        for name, given in (("by affinity", cycle(keys)), ("least loaded", cycle([0]))):
            if count == 1 and name != "by affinity":
                continue

            def step(replicas=replicas, given=given) -> None:
                now_s = time.monotonic()
                replica = replicas.pick(next(given), now_s)
                replicas.finish(replica, 200, started_s=now_s, now_s=now_s, first_token_s=0.2)

            label = f"{count} replicas, {name}" if count > 1 else "1 replica"
            yield f"pick and finish: {label}", step


def the_rest() -> Iterator[tuple[str, Callable[[], object]]]:
    prefix = b"You are a helpful assistant. " * 40
    yield "affinity key: a session", lambda: affinity_key("session-1")
    yield "affinity key: a prefix of 1.2 KB", lambda: affinity_key("", prefix, b"", b"hello")
    line = Admission(Queue(max_in_flight=64))

    def step() -> None:
        line.enter(0, "acme", 1e12)
        line.leave()

    yield "enter and leave: with room", step
    wanted, page = Wanted(METRIC_NAMES["vllm"]), PAGE.read_bytes()
    yield f"read a page of vLLM's ({len(page) // 1024} KB)", lambda: wanted.read(page)


async def crowded_ns() -> float:
    """Entering a line of 50 and being let in, all places taken."""
    line = Admission(Queue(max_in_flight=1))
    line.enter(0, "x", 1e12)
    for index in range(50):
        line.enter(0, f"tenant-{index % 5}", 1e12)
    began = time.process_time_ns()
    for index in range(CALLS):
        line.enter(0, f"tenant-{index % 5}", 1e12)
        line.leave()
        if index % 100 == 0:
            await asyncio.sleep(0)
    return (time.process_time_ns() - began) / CALLS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object")
    as_json = parser.parse_args().json
    rows = {}
    for steps in (choosing(), choosing_of_many(), picking(), the_rest()):
        for name, step in steps:
            print(f"{name} ...", end="\r", file=sys.stderr)
            rows[name] = round(cost_ns(step))
    rows["enter and leave: a line of 50"] = round(asyncio.run(crowded_ns()))
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for name, cost in rows.items():
        print(f"{name:<52} {cost / 1000:8.2f} us")


if __name__ == "__main__":
    main()
