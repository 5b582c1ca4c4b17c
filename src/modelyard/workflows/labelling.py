"""Labelling jobs, made of files or of a recorded dataset."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from modelyard.core.clock import now_ms
from modelyard.core.errors import InvalidInput, NotFound
from modelyard.datasets.labelling.gathering import Choice, Gathered, sample, tasks_of_examples, tasks_of_files
from modelyard.datasets.labelling.storage import LabellingFolder, job_path
from modelyard.datasets.labelling.tasks import Job, check_labels
from modelyard.datasets.splits import SPLITS
from modelyard.workflows.datasets import examples_of
from modelyard.workflows.tools import Progress, Tools, silent


class JobPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A job to be made. `origin` names files or a dataset, `split` one of the dataset's; `num_sampled` 0 takes all."""

    name: str
    origin: str
    split: str = ""
    choice: Choice = Choice()
    labels: tuple[str, ...] = ()
    per_task: int = 0
    question: str = ""
    num_sampled: int = 0
    seed: int = 0
    by: str


def create_job(
    root: Path, plan: JobPlan, tools: Callable[[], Tools], progress: Progress = silent
) -> tuple[LabellingFolder, Gathered]:
    """Make a job. The stores are opened where its tasks come from a dataset alone.

    Raises: Conflict where there is such a job, NotFound where there is no such origin, InvalidInput, DataInvalid.
    """
    path = job_path(root, plan.name)
    LabellingFolder.check_free(path)
    labels = check_labels(plan.labels)
    _check_question(plan.question)
    gathered = _from_files(root, plan, progress) if _names_files(plan.origin) else _from_dataset(plan, tools())
    tasks = sample(gathered.tasks, plan.num_sampled, plan.seed) if plan.num_sampled else gathered.tasks
    job = Job(
        name=plan.name,
        labels=labels,
        per_task=plan.per_task,
        question=plan.question.strip(),
        origin=", ".join(gathered.digests),
        digests=gathered.digests,
        by=plan.by,
        created_ms=now_ms(),
    )
    return LabellingFolder.create(path, job, tasks), gathered


def _check_question(question: str) -> None:
    """A shell hands bytes that are not UTF-8 on as halves of characters, which no file takes."""
    try:
        question.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"the question is not UTF-8: {question!a}", expected="text in UTF-8") from error


def _names_files(origin: str) -> bool:
    return Path(origin).exists() or "://" in origin or any(sign in origin for sign in "*?[")


def _from_files(root: Path, plan: JobPlan, progress: Progress) -> Gathered:
    if plan.split:
        raise InvalidInput("files have no splits", expected="--split with a dataset alone", fix="leave --split out")
    path = plan.origin if "://" in plan.origin else str(Path(plan.origin).absolute())
    return tasks_of_files(path, root, plan.choice, progress)


def _from_dataset(plan: JobPlan, tools: Tools) -> Gathered:
    try:
        dataset = tools.records.datasets.find(plan.origin)
    except NotFound as error:
        raise NotFound(
            f"there is neither a file nor a dataset '{plan.origin}'",
            expected="a file, or a dataset that `modelyard data list` shows",
            fix="correct the name, or prepare the dataset first: modelyard data prepare NAME",
        ) from error
    splits = (plan.split,) if plan.split else SPLITS
    rows = (example for split in splits for example in examples_of(tools, dataset, split))
    return tasks_of_examples(rows, plan.choice, dataset)
