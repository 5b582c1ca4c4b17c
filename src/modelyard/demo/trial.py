"""Live traffic on a service until something has happened, and what it showed."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from modelyard.core.clock import iso, monotonic_s
from modelyard.core.errors import NotFound, Unavailable
from modelyard.demo.traffic import Tally, Traffic
from modelyard.ports.dataset import Example
from modelyard.ports.interaction import Interaction
from modelyard.ports.records import Records
from modelyard.ports.rollout import Rollout
from modelyard.serving import Serving
from modelyard.workflows.keys import create_key, revoke_key
from modelyard.workflows.tools import Progress

_TENANT = "demo"
_CALLERS = 8
_POLL_S = 0.1
_AFTERWARDS_S = 1.0
_TIMEOUT_S = 240.0
_BIN_S = 0.5
_INGEST_TIMEOUT_S = 20.0
Facts = dict[str, Any]


def run_trial(
    records: Records,
    serving: Serving,
    service: str,
    examples: Sequence[Example],
    done: Callable[[Tally], bool],
    progress: Progress,
) -> Tally:
    """Let callers ask until `done`, and a moment longer, so that what follows from the end is seen as well.

    Raises: Unavailable where it does not come to an end, where the engine or the gateway keeps ending, or where the
    answers do not reach the records.
    """
    for left in records.routes.keys():  # noqa: SIM118 - no dict
        if left.tenant == _TENANT:  # of a run that was killed
            revoke_key(records, left.id)
    key, text = create_key(records, _TENANT, days=1)
    try:
        serving.settle()
        with Traffic(serving.gateway_url, text, service, examples, num_callers=_CALLERS) as traffic:
            _wait_until(done, traffic.tally, serving, progress)
            time.sleep(_AFTERWARDS_S)
    finally:
        revoke_key(records, key.id)
    _wait_until_ingested(records, serving, traffic.tally)
    return traffic.tally


def _wait_until(done: Callable[[Tally], bool], tally: Tally, serving: Serving, progress: Progress) -> None:
    deadline_s = monotonic_s() + _TIMEOUT_S
    while not done(tally):
        progress(0, 0, f"{len(tally.calls)} answers")
        serving.watch()
        if monotonic_s() > deadline_s:
            raise Unavailable(
                f"the rollout was undecided after {_TIMEOUT_S:g} s and {len(tally.calls)} answers",
                expected="a decision",
                fix="run `modelyard demo` again; it goes on from here",
            )
        time.sleep(_POLL_S)


def observe_calls(tally: Tally) -> Facts:
    """What the callers saw: answers, failures, the share of right ones, the median latency."""
    latencies = sorted(call.latency_ms for call in tally.calls)
    return {
        "answers": len(tally.calls),
        "failed_requests": len(tally.failures),
        "failures": tally.failures[:5],
        "right": sum(call.right for call in tally.calls) / max(1, len(tally.calls)),
        "latency_p50_ms": latencies[len(latencies) // 2] if latencies else 0.0,
        "last_answer": tally.calls[-1].id if tally.calls else "",
    }


def observe_rollout(records: Records, rollout: Rollout) -> Facts:
    """What was recorded of a rollout: its events, the traffic of each side over time, what the challenger answered.

    `exposed_seconds` runs from the challenger's first answer to its last one: after that it had no traffic.
    """
    scored = records.interactions.scored(
        rollout.service, since_ms=rollout.started_ms, rollout_id=rollout.id, metric=rollout.plan.metric
    )
    given = [(one.interaction, one.score) for one in scored]
    exposed = [one for one, _ in given if one.role == "challenger"]
    ends = sorted(_end_ms(one) for one in exposed)
    return {
        "rollout": rollout.id,
        "state": rollout.state,
        "events": [
            {"at": iso(event.at_ms), "kind": event.kind, "step": event.step, "reason": event.reason}
            for event in rollout.events
        ],
        "exposed_requests": len(exposed),
        "exposed_seconds": (ends[-1] - ends[0]) / 1000 if ends else 0.0,
        "quality": _quality(given),
        "timeline": _timeline([one for one, _ in given], rollout.started_ms),
        "example_answer": exposed[0].id if exposed else "",
        "seconds": (rollout.finished_ms - rollout.started_ms) / 1000,
    }


def _end_ms(interaction: Interaction) -> float:
    return interaction.at_ms + interaction.latency_ms


def _quality(given: list[tuple[Interaction, float]]) -> Facts:
    scores: dict[str, list[float]] = defaultdict(list)
    for interaction, score in given:
        if score >= 0:
            scores[interaction.role].append(score)
    return {role: {"mean": sum(found) / len(found), "num_rows": len(found)} for role, found in sorted(scores.items())}


def _timeline(given: list[Interaction], start_ms: int) -> Facts:
    """Answers per half second by role, from the rollout's start."""
    bins: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for one in given:
        bins[one.role][int((_end_ms(one) - start_ms) / 1000 / _BIN_S)] += 1
    length = max((max(counts) for counts in bins.values()), default=-1) + 1
    return {
        "bin_seconds": _BIN_S,
        "answers": {role: [counts[number] for number in range(length)] for role, counts in sorted(bins.items())},
    }


def _wait_until_ingested(records: Records, serving: Serving, tally: Tally) -> None:
    """Return when the last answer is in the records. Raises: Unavailable."""
    if not tally.calls:
        return
    last = tally.calls[-1].id
    deadline_s = monotonic_s() + _INGEST_TIMEOUT_S
    while True:
        try:
            records.interactions.get(last)
        except NotFound:
            serving.watch()
        else:
            return
        if monotonic_s() > deadline_s:
            raise Unavailable(
                f"answer {last} was not in the records after {_INGEST_TIMEOUT_S:g} s",
                fix="run `modelyard demo` again; it goes on from here",
            )
        time.sleep(_POLL_S)
