"""Which trial is best, how sure that is, and which of those as good is the simplest.

Knows nothing about how trials are chosen or trained: it reads their runs.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from modelyard.ports.run import Run
from modelyard.training.sweeps.config import SweepConfig

State = Literal["running", "finished", "pruned", "failed", "interrupted"]


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One set of values, and what came of it. `value` is None until all its runs have finished.

    `error` is the standard error of `value`: over the seeds where there are several, else over the validation rows.
    `num_parameters` are learnt; `num_tokens` were trained on, all runs together.
    """

    number: int
    values: dict[str, Any]
    state: State
    runs: tuple[str, ...]
    value: float | None = None
    error: float | None = None
    num_parameters: float = 0
    num_tokens: float = 0
    seconds: float = 0.0
    note: str = ""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """`best` has the best value. `tied` are within one standard error of it; the simplest of those is `chosen`.

    Simple is to learn fewer parameters, then to take fewer tokens. Source: the one-standard-error rule of Breiman and
    others (1984), section 3.4.3. All are numbers of trials.
    """

    best: int
    chosen: int
    tied: tuple[int, ...]
    error_over: Literal["seeds", "validation rows"]


def trial_name(sweep: str, number: int) -> str:
    """How the runs of a trial are called."""
    return f"{sweep}-{number:03d}"


def trials_of(config: SweepConfig, runs: Sequence[Run]) -> list[Trial]:
    """The trials that the runs of a sweep belong to, in their order."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in sorted(runs, key=lambda one: one.id):
        key = msgspec.json.encode([run.recipe[field] for field in config.search]).decode()
        groups.setdefault((run.name, key), []).append(run)
    return sorted((_trial(config, group) for group in groups.values()), key=lambda one: one.number)


def _trial(config: SweepConfig, runs: Sequence[Run]) -> Trial:
    state = _state(runs, config.repeats)
    metrics = [run.metrics for run in runs]
    value, error = _measured(config, metrics) if state == "finished" else (None, None)
    return Trial(
        number=int(runs[0].name.rpartition("-")[2]),
        values={field: runs[0].recipe[field] for field in config.search},
        state=state,
        runs=tuple(run.id for run in runs),
        value=value,
        error=error,
        num_parameters=max(one.get("trainable_parameters", 0) for one in metrics),
        num_tokens=sum(one.get("train_tokens", 0) for one in metrics),
        seconds=sum(run.train_seconds for run in runs),
        note=next((run.error.partition("\n")[0] for run in runs if run.error), ""),
    )


def _state(runs: Sequence[Run], repeats: int) -> State:
    for state in ("pruned", "failed", "interrupted", "running"):
        if any(run.state == state for run in runs):
            return state
    return "finished" if len(runs) >= repeats else "interrupted"


def _measured(config: SweepConfig, metrics: Sequence[dict[str, float]]) -> tuple[float, float | None]:
    values = [one[config.metric] for one in metrics]
    mean = sum(values) / len(values)
    if len(values) == 1:
        return mean, metrics[0].get(f"{config.metric}_error")
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def choose(config: SweepConfig, trials: Sequence[Trial]) -> Choice | None:
    """The best of the finished trials, or None where there is none."""
    sign = 1 if config.is_lower_better else -1
    loss = {one.number: sign * one.value for one in trials if one.value is not None and math.isfinite(one.value)}
    finished = [one for one in trials if one.number in loss]
    if not finished:
        return None
    best = min(finished, key=lambda one: (loss[one.number], one.number))
    tied = [one for one in finished if loss[one.number] - loss[best.number] <= (best.error or 0.0)]
    chosen = min(tied, key=lambda one: (one.num_parameters, one.num_tokens, loss[one.number], one.number))
    return Choice(
        best=best.number,
        chosen=chosen.number,
        tied=tuple(one.number for one in tied if one.number != best.number),
        error_over="seeds" if config.repeats > 1 else "validation rows",
    )
