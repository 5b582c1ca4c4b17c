"""Sweeps on a tiny base, trained for real: a grid, a study that prunes, and what a kill leaves behind."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import Conflict, JobFailed, NotFound, RecipeInvalid
from modelyard.ports.dataset import Dataset
from modelyard.project.loading import parse_project
from modelyard.project.model import Project
from modelyard.workflows.datasets import prepare_dataset
from modelyard.workflows.runs import resume_run
from modelyard.workflows.sweeps import Sweep, find_sweep, run_sweep
from modelyard.workflows.tools import Tools
from tests.models import make_tiny_model
from tests.training.inside import InProcess
from tests.workflows.stand_ins import TERMS, make_rows

PROJECT = """\
project: shop
datasets:
  messages: {path: raw.jsonl, answer: "{intent}"}
recipes:
  short: {base: base, rank: 4, max_steps: 6, validate_every: 2, sequence_length: 64, threads: 1, checkpoint_minutes: 0}
sweeps:
  grid: {recipe: short, search: {rank: [2, 4], learning_rate: [0.001, 0.01]}, pruning: false}
  pair: {recipe: short, search: {rank: [2, 4]}, pruning: false}
  rates: {recipe: short, search: {learning_rate: [0.01, 0.02, 0.00000001]}}
  study:
    recipe: short
    method: optuna
    trials: 2
    search: {learning_rate: {low: 0.001, high: 0.01, log: true}, rank: {low: 2, high: 8}}
    pruning: false
  seeds: {recipe: short, search: {rank: [2]}, repeats: 2, pruning: false}
"""


@pytest.fixture
def sweeping(tmp_path: Path) -> Project:
    (tmp_path / "modelyard.yaml").write_text(PROJECT)
    return parse_project(PROJECT)


class Counting(InProcess):
    """Real training, which counts its runs; `stop_in` is the run that Ctrl-C falls into, after its first step."""

    num_runs, stop_in = 0, 0

    def run(self, command: Any, *, env: Any, progress: Any) -> None:
        self.num_runs += 1

        def hear(event: Any) -> None:
            if event["event"] == "progress" and self.num_runs == self.stop_in:
                raise KeyboardInterrupt
            progress(event)

        super().run(command, env=env, progress=hear)


@pytest.fixture
def yard(tools: Tools) -> Tools:
    make_tiny_model(tools.root / "base")
    make_rows(tools.root / "raw.jsonl", num_rows=60)
    return dataclasses.replace(tools, compute=Counting())


@pytest.fixture
def dataset(yard: Tools, sweeping: Project) -> Dataset:
    return prepare_dataset(yard, "messages", sweeping.datasets["messages"])


def sweep(yard: Tools, project: Project, dataset: Dataset, name: str) -> Sweep:
    config = project.sweeps[name]
    return run_sweep(yard, name, config, project.recipes[config.recipe], dataset, TERMS)


@pytest.mark.slow
def test_a_grid_that_is_interrupted_goes_on_and_chooses(yard: Tools, sweeping: Project, dataset: Dataset) -> None:
    compute = yard.compute
    assert isinstance(compute, Counting)
    compute.stop_in = 3
    with pytest.raises(KeyboardInterrupt):
        sweep(yard, sweeping, dataset, "grid")
    cut = find_sweep(yard, "grid")
    assert (cut.state, [trial.state for trial in cut.trials]) == (
        "interrupted",
        ["finished", "finished", "interrupted"],
    )
    assert "go on: modelyard sweep grid messages@" in cut.run.error
    with pytest.raises(Conflict, match="stands for a sweep"):
        resume_run(yard, cut.run.id, TERMS)
    compute.stop_in = 0
    done = sweep(yard, sweeping, dataset, "grid")
    assert compute.num_runs == 5  # two, one that was cut off, that one again, the last
    assert [trial.state for trial in done.trials] == ["finished"] * 4
    assert [list(trial.values.values()) for trial in done.trials] == [[2, 0.001], [2, 0.01], [4, 0.001], [4, 0.01]]
    assert (done.state, done.run.metrics["finished"]) == ("finished", 4)
    assert done.choice is not None
    values = {trial.number: trial.value for trial in done.trials}
    assert values[done.choice.best] == min(value for value in values.values() if value is not None)
    assert all(trial.error and trial.num_parameters for trial in done.trials)
    assert all(yard.records.runs.get(id).parent == done.run.id for trial in done.trials for id in trial.runs)
    sweep(yard, sweeping, dataset, "grid")
    assert compute.num_runs == 5


@pytest.mark.slow
def test_a_hopeless_rate_is_pruned(yard: Tools, sweeping: Project, dataset: Dataset) -> None:
    done = sweep(yard, sweeping, dataset, "rates")
    assert [trial.state for trial in done.trials] == ["finished", "finished", "pruned"]
    assert "pruned at step 2: validation_loss" in done.trials[2].note
    assert done.choice is not None
    assert 2 not in (done.choice.best, done.choice.chosen, *done.choice.tied)
    assert not list((yard.state / "checkpoints").glob("*"))


@pytest.mark.slow
def test_a_study_takes_values_from_ranges(yard: Tools, sweeping: Project, dataset: Dataset) -> None:
    done = sweep(yard, sweeping, dataset, "study")
    assert [trial.state for trial in done.trials] == ["finished"] * 2
    assert all(0.001 <= trial.values["learning_rate"] <= 0.01 for trial in done.trials)
    assert all(isinstance(trial.values["rank"], int) for trial in done.trials)
    assert len({trial.values["learning_rate"] for trial in done.trials}) == 2


@pytest.mark.slow
def test_repeats_are_trained_with_other_seeds(yard: Tools, sweeping: Project, dataset: Dataset) -> None:
    done = sweep(yard, sweeping, dataset, "seeds")
    (trial,) = done.trials
    runs = [yard.records.runs.get(id) for id in trial.runs]
    assert sorted(run.recipe["seed"] for run in runs) == [7, 8]
    losses = [run.metrics["validation_loss"] for run in runs]
    assert trial.value == pytest.approx(sum(losses) / 2)
    assert trial.error == pytest.approx(abs(losses[0] - losses[1]) / 2)
    assert done.choice is not None
    assert done.choice.error_over == "seeds"


@pytest.mark.long
def test_a_sweep_that_is_killed_goes_on_from_the_command_line(yard: Tools, sweeping: Project, dataset: Dataset) -> None:
    command = [sys.executable, "-m", "modelyard", "sweep", "pair", dataset.ref, "--json"]
    env = {**os.environ, "MODELYARD_TRACKING": "none"}
    process = subprocess.Popen(command, cwd=yard.root, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for _ in _until(lambda: any(run.state == "finished" for run in yard.records.runs.newest())):
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert find_sweep(yard, "pair").state == "died"
    finished = {run.id: run.finished_ms for run in yard.records.runs.newest() if run.state == "finished"}
    done = subprocess.run(command, cwd=yard.root, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [trial["state"] for trial in told["trials"]] == ["finished"] * 2
    assert {id: yard.records.runs.get(id).finished_ms for id in finished} == finished
    shown = subprocess.run(
        [sys.executable, "-m", "modelyard", "sweep", "show", "pair"],
        cwd=yard.root, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert f"trial {told['choice']['best']}: validation_loss" in shown.stdout


def _until(holds: Any, timeout_s: float = 180.0) -> Iterator[None]:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
        yield


class Failing:
    """Training that always ends badly."""

    def run(self, command: Any, *, env: Any, progress: Any) -> None:
        raise JobFailed("the loss diverged")


def test_a_sweep_without_a_trial_that_finishes_says_why(yard: Tools, sweeping: Project, dataset: Dataset) -> None:
    failing = dataclasses.replace(yard, compute=Failing())
    with pytest.raises(JobFailed, match="none of 4 trials finished: the loss diverged"):
        sweep(failing, sweeping, dataset, "grid")
    found = find_sweep(failing, "grid")
    assert (found.state, {trial.state for trial in found.trials}) == ("failed", {"failed"})


def test_pruning_needs_looks_on_the_way(yard: Tools, sweeping: Project, dataset: Dataset) -> None:
    blind = sweeping.recipes["short"].model_copy(update={"validate_every": None})
    with pytest.raises(RecipeInvalid, match="never looks at the validation split") as raised:
        run_sweep(yard, "rates", sweeping.sweeps["rates"], blind, dataset, TERMS)
    assert "pruning: false" in raised.value.fix


def test_a_sweep_that_is_none_is_told(yard: Tools) -> None:
    with pytest.raises(NotFound, match="no sweep 'nothing'"):
        find_sweep(yard, "nothing")
