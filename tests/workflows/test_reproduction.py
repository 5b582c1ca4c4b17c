"""Runs trained again: what comes out the same, and what is told where it does not."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelyard.core.errors import Conflict
from modelyard.ports.dataset import Dataset
from modelyard.ports.run import Run
from modelyard.project.loading import parse_project
from modelyard.project.model import Project
from modelyard.training.comparison import Tolerances
from modelyard.training.recipe import Recipe
from modelyard.training.spec import Curve
from modelyard.workflows.datasets import prepare_dataset
from modelyard.workflows.reproduction import check_run, compare_runs, reproduce_run
from modelyard.workflows.runs import train_run
from modelyard.workflows.tools import Tools
from tests.models import make_tiny_model
from tests.training.inside import InProcess
from tests.workflows.stand_ins import TERMS, Workshop, make_base, make_rows

TOLERANCES = Tolerances()


@pytest.fixture
def yard(tools: Tools) -> Tools:
    make_base(tools.root / "base")
    make_rows(tools.root / "raw.jsonl")
    return dataclasses.replace(tools, compute=Workshop())


@pytest.fixture
def dataset(yard: Tools, project: Project) -> Dataset:
    return prepare_dataset(yard, "messages", project.datasets["messages"])


def train(yard: Tools, dataset: Dataset, run_id: str = "run-1", **fields: Any) -> Run:
    recipe = Recipe.model_validate({"base": "base", **fields})
    return train_run(yard, run_id, "standard", recipe, dataset, TERMS)


def test_a_run_is_trained_again_from_what_is_written_down_and_linked(yard: Tools, dataset: Dataset) -> None:
    run = train(yard, dataset, rank=8, seed=3)
    found = reproduce_run(yard, run, TERMS, TOLERANCES)
    again = yard.records.runs.get(found.again)
    assert (found.verdict, found.cause, found.differences) == ("identical", "", ())
    assert (again.reproduces, again.recipe, again.lineage) == (run.id, run.recipe, run.lineage)
    assert run.reproduces == ""


def test_a_link_survives_an_interruption(yard: Tools, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(yard, dataset)

    def end() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce_run(dataclasses.replace(yard, compute=Workshop(end)), run, TERMS, TOLERANCES)
    cut = yard.records.runs.newest()[0]
    assert (cut.state, cut.reproduces) == ("interrupted", run.id)
    recipe = Recipe.model_validate(cut.recipe)
    again = train_run(yard, cut.id, cut.name, recipe, dataset, TERMS)
    assert (again.state, again.reproduces) == ("finished", run.id)
    assert compare_runs(yard, run, again, TOLERANCES).verdict == "identical"


def test_another_seed_and_another_dataset_are_told_exactly(yard: Tools, project: Project, dataset: Dataset) -> None:
    first = train(yard, dataset, seed=3)
    seeded = compare_runs(yard, first, train(yard, dataset, "run-2", seed=4), TOLERANCES)
    assert seeded.verdict == "differs"
    assert [(one.what, one.first, one.second) for one in seeded.differences] == [("seed", "3", "4")]
    assert seeded.cause == "most likely seed (3, then 4)"
    make_rows(yard.root / "raw.jsonl", label="track")
    other = prepare_dataset(yard, "messages", project.datasets["messages"])
    on_other = compare_runs(yard, first, train(yard, other, "run-3", seed=3), TOLERANCES)
    assert [(one.what, one.first, one.second) for one in on_other.differences] == [
        ("dataset", dataset.digest, other.digest)
    ]


def test_another_version_and_machine_are_seen_before_anything_is_trained(yard: Tools, dataset: Dataset) -> None:
    run = train(yard, dataset)
    lineage = run.lineage
    then = msgspec.structs.replace(
        run,
        id="older",
        lineage=msgspec.structs.replace(
            lineage,
            environment=lineage.environment | {"torch": "1.0.0"},
            hardware=lineage.hardware | {"cores": 999},
            threads=999,
        ),
    )
    yard.records.runs.put(then)
    check = check_run(yard, then)
    now = {one.what: (one.first, one.second) for one in check.differences}
    assert check.is_possible
    assert now == {
        "hardware cores": ("999", str(lineage.hardware["cores"])),
        "threads": ("999", str(lineage.threads)),
        "package torch": ("1.0.0", lineage.environment["torch"]),
    }
    found = reproduce_run(yard, then, TERMS, TOLERANCES)
    assert found.verdict == "identical"
    assert {one.what for one in found.differences} == set(now)


def test_what_is_not_here_any_more_is_named_and_nothing_is_trained(yard: Tools, dataset: Dataset) -> None:
    run = train(yard, dataset)
    make_base(yard.root / "base", weights="others")
    (other,) = check_run(yard, run).missing
    assert other.startswith("the base 'base' is another one: sha256:")
    assert other.endswith(run.lineage.base_digest)
    shutil.rmtree(yard.root / "base")
    for path in (yard.state / "blobs").rglob("*"):
        if path.is_file():
            path.chmod(0o600)
            path.write_bytes(b"damaged")
    shutil.rmtree(yard.state / "cache", ignore_errors=True)
    check = check_run(yard, run)
    assert len(check.missing) == 2
    assert check.missing[0].startswith(f"the dataset {dataset.digest}")
    assert "base' does not exist" in check.missing[1]
    num_runs = len(yard.records.runs.newest())
    with pytest.raises(Conflict, match="cannot be trained again: the dataset"):
        reproduce_run(yard, run, TERMS, TOLERANCES)
    assert len(yard.records.runs.newest()) == num_runs


def test_a_run_that_has_not_finished_is_not_reproduced(yard: Tools, dataset: Dataset) -> None:
    run = msgspec.structs.replace(train(yard, dataset), state="failed")
    with pytest.raises(Conflict, match="is failed") as told:
        check_run(yard, run)
    assert told.value.fix == f"modelyard run resume {run.id}"


TINY = """\
project: shop
datasets:
  messages: {path: raw.jsonl, answer: "{intent}"}
"""
QUICK = {"base": "tiny", "sequence_length": 128, "max_steps": 8, "threads": 1, "serve": False}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "artifact"),
    [({"rank": 4, "dropout": 0.1}, "adapter"), ({"method": "prefix"}, "adapter"), ({"method": "full"}, "model")],
)
def test_real_training_repeats_itself_to_the_byte(tools: Tools, fields: dict[str, Any], artifact: str) -> None:
    tools = dataclasses.replace(tools, compute=InProcess())
    dataset = make_tiny_yard(tools.root, tools)
    recipe = Recipe.model_validate({**QUICK, **fields})
    run = train_run(tools, "run-1", "tiny", recipe, dataset, TERMS)
    assert set(run.artifacts) == {artifact, "curve"}
    found = reproduce_run(tools, run, TERMS, TOLERANCES)
    assert (found.verdict, found.weights, found.differences) == ("identical", (), ())
    assert found.num_tensors >= 1
    curve = msgspec.json.decode(tools.blobs.get_bytes(run.artifacts["curve"]), type=Curve)
    assert len(curve.losses) == 8
    assert {one.name for one in found.metrics} >= {"loss of each step", "train_loss", "validation_loss"}

    other = train_run(tools, "run-2", "tiny", recipe.model_copy(update={"seed": 8}), dataset, TERMS)
    apart = compare_runs(tools, run, other, TOLERANCES)
    assert (apart.verdict, apart.cause) == ("differs", "most likely seed (7, then 8)")
    assert apart.weights
    assert apart.weights[0].max_abs > 0


def make_tiny_yard(root: Path, tools: Tools) -> Dataset:
    make_tiny_model(root / "tiny")
    rows = [{"text": f"question {n} about {'ab'[n % 2] * (n % 7 + 1)}", "intent": "ab"[n % 2]} for n in range(60)]
    (root / "raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return prepare_dataset(tools, "messages", parse_project(TINY).datasets["messages"])
