"""A dry run: the checks and the plan of a run, and nothing of it left behind."""

import dataclasses
import json
import subprocess
import sys

import msgspec
import pytest

from modelyard.cli.plan_tables import dry_run_text
from modelyard.core.errors import NotFound, RecipeInvalid
from modelyard.ports.dataset import Dataset
from modelyard.ports.run import Run
from modelyard.project.model import Project
from modelyard.training.hardware import describe_hardware
from modelyard.training.recipe import Recipe
from modelyard.workflows.datasets import prepare_dataset
from modelyard.workflows.plans import dry_run
from modelyard.workflows.runs import train_run
from modelyard.workflows.tools import Tools
from tests.cli.inside import inside
from tests.models import make_tiny_model
from tests.workflows.stand_ins import TERMS, Workshop, make_rows

RECIPE = Recipe(base="base", rank=8, sequence_length=128, epochs=2)


@pytest.fixture
def yard(tools: Tools) -> Tools:
    make_tiny_model(tools.root / "base")
    make_rows(tools.root / "raw.jsonl")
    return dataclasses.replace(tools, compute=Workshop())


@pytest.fixture
def dataset(yard: Tools, project: Project) -> Dataset:
    return prepare_dataset(yard, "messages", project.datasets["messages"])


def finished(yard: Tools, dataset: Dataset, number: int, **metrics: float) -> Run:
    run = train_run(yard, f"run-{number}", "standard", RECIPE, dataset, TERMS)
    changed = msgspec.structs.replace(run, id=f"again-{number}", started_ms=run.started_ms + number, metrics=metrics)
    yard.records.runs.put(changed)
    return changed


def test_it_tells_all_and_records_nothing(yard: Tools, dataset: Dataset) -> None:
    seen: list[str] = []
    tried = dry_run(yard, RECIPE, dataset, TERMS, lambda done, total, note="": seen.append(note))
    assert tried.passed
    assert all(one.passed for one in tried.findings)
    assert tried.plan.rows == dataset.rows["train"]
    assert "rough guess" in tried.plan.seconds_from
    assert len(tried.sample) == 3
    assert seen == ["reading rows", "checking them", "counting"]
    assert yard.records.runs.newest() == []
    assert not list((yard.state / "scratch").iterdir())
    assert not (yard.state / "checkpoints").exists()


def test_time_is_that_of_the_last_runs_like_it(yard: Tools, dataset: Dataset) -> None:
    for number in range(4):
        seconds = 1000.0 if number == 0 else 10.0
        finished(yard, dataset, number, train_seconds=seconds, train_tokens=5000.0)
    assert yard.records.runs.get("again-1").lineage.hardware == describe_hardware()
    plan = dry_run(yard, RECIPE, dataset, TERMS).plan
    assert plan.seconds_from == "the last 3 runs of this kind here"
    assert plan.seconds == pytest.approx(plan.tokens / 500)
    other = Recipe(base="base", method="full", sequence_length=128, serve=False)
    assert "rough guess" in dry_run(yard, other, dataset, TERMS).plan.seconds_from


def test_what_would_be_refused_is_told_with_the_rest(yard: Tools, dataset: Dataset) -> None:
    bad = RECIPE.model_copy(update={"sequence_length": 8, "rank": 65})
    tried = dry_run(yard, bad, dataset, TERMS)
    assert not tried.passed
    assert [one.name for one in tried.findings if one.stops] == ["no row is truncated", "the engine can serve it"]


def test_what_cannot_be_read_is_an_error(yard: Tools, dataset: Dataset) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        dry_run(yard, RECIPE.model_copy(update={"base": "nowhere"}), dataset, TERMS)
    (yard.root / "base" / "chat_template.jinja").unlink()
    with pytest.raises(RecipeInvalid, match="no chat template"):
        dry_run(yard, RECIPE, dataset, TERMS)


def test_people_see_findings_plan_and_what_is_learnt(
    yard: Tools, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    dry_run_text(dry_run(yard, RECIPE, dataset, TERMS))
    told = capsys.readouterr().out
    assert "All checks passed." in told
    assert "»refund<|end|>«" in told
    assert "optimizer" in told
    dry_run_text(dry_run(yard, RECIPE.model_copy(update={"sequence_length": 8}), dataset, TERMS))
    assert "no row is truncated: raise sequence_length from 8 to " in capsys.readouterr().out


def test_the_exit_code_of_the_command_tells(yard: Tools, dataset: Dataset) -> None:
    (yard.root / "modelyard.yaml").write_text(
        "project: shop\nrecipes:\n  bad: {base: base, sequence_length: 8}\ncompute: {device_hour: '3.60'}\n"
    )
    done = inside(yard.root, "train", "bad", "messages", "--dry-run", "--json")
    assert done.returncode == 2, done.stderr
    found = json.loads(done.stdout)
    assert [one["name"] for one in found["findings"] if not one["passed"]] == ["no row is truncated"]
    assert found["plan"]["cost_nanousd"] == round(found["plan"]["seconds"] * 1_000_000)


@pytest.mark.slow
def test_a_dry_run_loads_no_model_library() -> None:
    code = (
        "import sys\nimport modelyard.workflows.plans\nprint(sorted({'trl', 'peft', 'accelerate'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
