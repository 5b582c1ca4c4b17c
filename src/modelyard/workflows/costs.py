"""Costs: what runs and syntheses came to, summed by owner, project, recipe, month or price."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, get_args

import msgspec

from modelyard.core.clock import iso, now_ms
from modelyard.core.digests import short
from modelyard.core.errors import InvalidInput
from modelyard.datasets.collection.moments import moment_ms
from modelyard.datasets.synthesis.log import read_log
from modelyard.ports.run import Run
from modelyard.training.recipe import Recipe
from modelyard.training.weights import num_parameters
from modelyard.workflows.tools import Tools
from modelyard.workflows.watching import ENERGY

By = Literal["owner", "project", "recipe", "month", "pricing"]
NOT_TRAINED = "synthesis"


class Expense(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that cost something, at a moment. `keys` says under which name it counts, for each way to sum."""

    at_ms: int
    keys: Mapping[By, str]
    cost_nanousd: int
    device_seconds: float = 0.0
    energy_joules: float = 0.0
    is_run: bool = True


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """A sum of expenses. Energy counts only where the devices reported it."""

    key: str
    runs: int
    device_seconds: float
    energy_joules: float
    cost_nanousd: int


def expenses(tools: Tools, recipes: Mapping[str, str]) -> Iterator[Expense]:
    """Every run, however it ended, and every answer of a teacher. `recipes` are names by their digests.

    The run that stands for a sweep has cost what its trials have, which count themselves.
    """
    yield from (_of_run(run, recipes) for run in tools.records.runs.newest() if not run.sweep)
    yield from _of_teachers(tools)


def names_of(tools: Tools, recipes: Mapping[str, Recipe]) -> dict[str, str]:
    """The names of recipes by their digests, also as their runs bear them: with what depends on the base decided."""
    found: dict[str, str] = {}
    for name, recipe in recipes.items():
        whole = recipe.for_base(num_parameters(tools.base_folder(recipe.base)))
        found |= {recipe.digest: name, whole.digest: name}
    return found


def sum_up(found: Iterable[Expense], by: By) -> list[Total]:
    """The totals by a key, dearest first."""
    groups: dict[str, list[Expense]] = {}
    for one in found:
        groups.setdefault(one.keys[by], []).append(one)
    return sorted((total(key, group) for key, group in groups.items()), key=lambda one: -one.cost_nanousd)


def total(key: str, group: Iterable[Expense]) -> Total:
    """The sum over some expenses."""
    all_of = list(group)
    return Total(
        key=key,
        runs=sum(one.is_run for one in all_of),
        device_seconds=sum(one.device_seconds for one in all_of),
        energy_joules=sum(one.energy_joules for one in all_of),
        cost_nanousd=sum(one.cost_nanousd for one in all_of),
    )


def since(text: str) -> int:
    """Unix milliseconds of `30d`, a date or a moment; 0 for nothing. Raises: InvalidInput."""
    return _moment("--since", text) if text else 0


def check_by(text: str) -> By:
    """What to sum by. Raises: InvalidInput."""
    for known in get_args(By):
        if text == known:
            return known  # type: ignore[no-any-return]
    raise InvalidInput(f"--by {text}: costs are not summed by that", expected=", ".join(get_args(By)))


def _moment(what: str, text: str) -> int:
    try:
        return moment_ms(text, now_ms=now_ms())
    except ValueError as error:
        raise InvalidInput(f"{what} {text}: {error}", fix="write 30d, or 2026-01-31") from error


def _of_run(run: Run, recipes: Mapping[str, str]) -> Expense:
    keys: dict[By, str] = {
        "owner": run.owner,
        "project": run.project or "not recorded",
        "recipe": recipes.get(run.recipe_digest) or f"{run.name} {short(run.recipe_digest)}",
        "month": _month(run.started_ms),
        "pricing": run.pricing,
    }
    return Expense(
        at_ms=run.started_ms,
        keys=keys,
        cost_nanousd=run.cost_nanousd,
        device_seconds=run.device_seconds or run.train_seconds,
        energy_joules=run.metrics.get(ENERGY, 0.0),
    )


def _of_teachers(tools: Tools) -> Iterator[Expense]:
    """The answers in the logs of this project's syntheses, those put aside included: they were paid for."""
    for path in sorted((tools.root / "synthetic").glob("*.answers*.jsonl")):
        name = path.name.partition(".")[0]
        for answer in read_log(path).answers.values():
            keys: dict[By, str] = {
                "owner": tools.owner,
                "project": tools.project,
                "recipe": f"{NOT_TRAINED} {name}",
                "month": answer.at[:7],
                "pricing": NOT_TRAINED,
            }
            at_ms = _moment(str(path), answer.at)
            yield Expense(at_ms=at_ms, keys=keys, cost_nanousd=answer.cost_nanousd, is_run=False)


def _month(milliseconds: int) -> str:
    return iso(milliseconds)[:7]
