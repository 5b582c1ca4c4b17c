"""What things cost: every run however it ended, every answer of a teacher, summed without a cent lost."""

import dataclasses
import time
from typing import Any

import msgspec
import pytest

from modelyard.core.errors import InvalidInput
from modelyard.core.money import nanousd, seconds_cost
from modelyard.ports.dataset import Dataset
from modelyard.project.model import Project
from modelyard.workflows.costs import check_by, expenses, since, sum_up, total
from modelyard.workflows.datasets import prepare_dataset
from modelyard.workflows.runs import resume_run, train_run
from modelyard.workflows.tools import Tools
from modelyard.workflows.watching import TrainingTerms
from tests.adapters.records.values import a_run
from tests.datasets.synthesis.made import answered
from tests.workflows.stand_ins import CAPABILITIES, Workshop, make_base, make_rows

PRICE = nanousd("3600")
TERMS = TrainingTerms(engine=CAPABILITIES, nanousd_per_hour=PRICE, pricing="spot")
JANUARY, MARCH = 1_767_225_600_000, 1_772_323_200_000


def put(tools: Tools, **fields: Any) -> None:
    tools.records.runs.put(a_run(**fields))


@pytest.mark.parametrize("error", [OSError("broken"), KeyboardInterrupt()])
def test_a_run_that_ends_badly_costs_what_it_used_and_its_next_attempt_comes_on_top(
    tools: Tools, project: Project, error: BaseException
) -> None:
    workshop = Workshop()
    make_base(tools.root / "base")
    make_rows(tools.root / "raw.jsonl")
    yard = dataclasses.replace(tools, compute=workshop, project="shop")
    dataset: Dataset = prepare_dataset(yard, "messages", project.datasets["messages"])

    def fail() -> None:
        time.sleep(0.05)
        raise error

    workshop.instead = fail
    with pytest.raises(type(error)):
        train_run(yard, "run-1", "standard", project.recipes["standard"], dataset, TERMS)
    failed = yard.records.runs.get("run-1")
    assert failed.device_seconds >= 0.05
    assert failed.cost_nanousd == seconds_cost(failed.device_seconds, PRICE)
    assert (failed.nanousd_per_hour, failed.pricing, failed.project) == (PRICE, "spot", "shop")

    workshop.instead = lambda: time.sleep(0.05)
    dearer = TrainingTerms(engine=CAPABILITIES, nanousd_per_hour=2 * PRICE)
    done = resume_run(yard, "run-1", dearer)
    more = done.device_seconds - failed.device_seconds
    assert more >= 0.05
    assert done.cost_nanousd == pytest.approx(failed.cost_nanousd + seconds_cost(more, 2 * PRICE), abs=2)
    assert (done.nanousd_per_hour, done.pricing, done.train_seconds) == (2 * PRICE, "on_demand", 1.0)


def test_totals_by_owner_project_recipe_month_and_pricing(tools: Tools) -> None:
    shared: dict[str, Any] = {"owner": "ada", "project": "shop", "started_ms": JANUARY, "cost_nanousd": 3}
    put(tools, **shared, state="finished", device_seconds=10.0, metrics={"energy_joules": 5.0})
    put(tools, **shared | {"owner": "kim"}, state="failed", device_seconds=2.0, error="x")
    put(tools, **shared | {"started_ms": MARCH, "cost_nanousd": 10, "pricing": "spot"}, state="interrupted")
    found = list(expenses(tools, {}))

    def by(key: str) -> dict[str, int]:
        return {one.key: one.cost_nanousd for one in sum_up(found, check_by(key))}

    assert by("owner") == {"ada": 13, "kim": 3}
    assert by("project") == {"shop": 16}
    assert by("month") == {"2026-03": 10, "2026-01": 6}
    assert by("pricing") == {"spot": 10, "on_demand": 6}
    assert list(by("month")) == ["2026-03", "2026-01"]
    whole = total("total", found)
    assert (whole.runs, whole.device_seconds, whole.energy_joules, whole.cost_nanousd) == (3, 12.0, 5.0, 16)
    digest = a_run().recipe_digest
    assert [one.key for one in sum_up(expenses(tools, {digest: "standard"}), "recipe")] == ["standard"]
    (unnamed,) = sum_up(found, "recipe")
    assert unnamed.key.startswith("support-lora ")


def test_answers_of_teachers_count_those_put_aside_too(tools: Tools) -> None:
    folder = tools.root / "synthetic"
    folder.mkdir()
    for name, texts in (("rows.answers.jsonl", 2), ("rows.answers.20250101T000000000Z.jsonl", 1)):
        lines = [msgspec.json.encode(answered("a", prompt=number)) for number in range(texts)]
        (folder / name).write_bytes(b"".join(line + b"\n" for line in lines))
    found = list(expenses(tools, {}))
    (one,) = sum_up(found, "recipe")
    assert (one.key, one.cost_nanousd, one.runs) == ("synthesis rows", 21, 0)
    assert [one.key for one in sum_up(found, "month")] == ["2025-01"]


def test_moments_and_keys_that_are_none_are_told() -> None:
    assert since("") == 0
    assert since("2026-01-01") == JANUARY
    with pytest.raises(InvalidInput, match="--since soon"):
        since("soon")
    with pytest.raises(InvalidInput, match="--by colour"):
        check_by("colour")
