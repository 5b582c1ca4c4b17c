"""Runs: who owns them, what they leave when they end badly, and what one sees of those that were killed."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from modelyard.core.errors import Conflict, Interrupted, Unavailable
from modelyard.core.ids import new_id
from modelyard.core.locks import hold
from modelyard.ports.dataset import Dataset
from modelyard.ports.run import Run
from modelyard.project.model import Project
from modelyard.workflows.datasets import prepare_dataset
from modelyard.workflows.releases import release_of_run
from modelyard.workflows.runs import resume_run, state_of, train_run
from modelyard.workflows.tools import Tools
from tests.workflows.stand_ins import TERMS, Workshop, make_base, make_rows


@pytest.fixture
def workshop() -> Workshop:
    return Workshop()


@pytest.fixture
def yard(tools: Tools, workshop: Workshop) -> Tools:
    make_base(tools.root / "base")
    make_rows(tools.root / "raw.jsonl")
    return dataclasses.replace(tools, compute=workshop)


@pytest.fixture
def dataset(yard: Tools, project: Project) -> Dataset:
    return prepare_dataset(yard, "messages", project.datasets["messages"])


def train(yard: Tools, project: Project, dataset: Dataset, run_id: str = "run-1") -> Run:
    return train_run(yard, run_id, "standard", project.recipes["standard"], dataset, TERMS)


def test_a_run_belongs_to_the_owner_not_to_who_acts(yard: Tools, project: Project, dataset: Dataset) -> None:
    run = train(yard, project, dataset)
    assert (run.state, run.owner) == ("finished", "olga")
    assert state_of(yard, run) == "finished"
    assert not list((yard.state / "runs").iterdir())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "No space left"),
        (Unavailable("the tracker is away"), "the tracker is away"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_a_run_that_ends_badly_has_failed(
    yard: Tools, project: Project, dataset: Dataset, workshop: Workshop, error: BaseException, said: str
) -> None:
    def fail() -> None:
        raise error

    workshop.instead = fail
    with pytest.raises(type(error)):
        train(yard, project, dataset)
    run = yard.records.runs.get("run-1")
    assert run.state == "failed"
    assert said in run.error
    assert run.finished_ms >= run.started_ms
    assert not list((yard.state / "runs").iterdir())
    workshop.instead = lambda: None
    assert train(yard, project, dataset).state == "finished"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Interrupted("interrupted after step 3 of 9")])
def test_an_interrupted_run_goes_on_under_its_id(
    yard: Tools, project: Project, dataset: Dataset, workshop: Workshop, error: BaseException
) -> None:
    def end() -> None:
        raise error

    workshop.instead = end
    with pytest.raises(type(error)):
        train(yard, project, dataset)
    run = yard.records.runs.get("run-1")
    assert (run.state, run.error) == ("interrupted", "interrupted; go on: modelyard run resume run-1")
    kept = yard.state / "checkpoints" / "run-1"
    kept.mkdir(parents=True)
    workshop.instead = lambda: None
    resumed = resume_run(yard, "run-1", TERMS)
    assert (resumed.state, resumed.id, resumed.recipe) == ("finished", "run-1", run.recipe)
    assert not kept.exists()
    with pytest.raises(Conflict, match="is finished"):
        resume_run(yard, "run-1", TERMS)


def test_a_run_is_seen_to_run_and_to_have_died(yard: Tools, project: Project, dataset: Dataset) -> None:
    run = msgspec.structs.replace(train(yard, project, dataset), id=new_id(), state="running")
    assert state_of(yard, run) == "running?"
    lock = yard.state / "runs" / f"{run.id}.lock"
    child = "import sys, os, time\nfrom pathlib import Path\nfrom modelyard.core.locks import hold\n"
    child += "with hold(Path(sys.argv[1]), 'x'):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    process = subprocess.Popen(
        [sys.executable, "-c", child, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ)
    )
    assert process.stdout
    assert process.stdout.readline() == b"held\n"
    assert state_of(yard, run) == "running"
    process.kill()
    process.wait()
    assert state_of(yard, run) == "died"


def test_a_run_is_trained_by_one_process_at_a_time(
    yard: Tools, project: Project, dataset: Dataset, workshop: Workshop
) -> None:
    (yard.state / "runs").mkdir()
    with hold(yard.state / "runs" / "run-1.lock", "x"), pytest.raises(Conflict, match="run-1 is being trained"):
        train(yard, project, dataset)
    assert workshop.num_runs == 0


def test_a_release_names_the_base_it_was_trained_on(yard: Tools, project: Project, dataset: Dataset) -> None:
    run = train(yard, project, dataset)
    shutil.rmtree(yard.root / "base")
    make_base(Path(yard.root / "base"), weights="others under the same name")
    release = release_of_run(yard, "support", run)
    assert release.base.digest == run.lineage.base_digest
    assert release.template_digest == run.lineage.template_digest
