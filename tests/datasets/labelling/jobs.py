"""Small jobs, made by hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelyard.datasets.labelling.storage import LabellingFolder
from modelyard.datasets.labelling.tasks import Answer, Job, Task


def make_job(
    path: Path,
    *,
    labels: tuple[str, ...] = ("good", "bad", "mixed"),
    num_tasks: int = 4,
    per_task: int = 0,
    tasks: Sequence[Task] = (),
) -> LabellingFolder:
    """A job of tasks t0, t1, ... with texts of their own."""
    tasks = tasks or [
        Task(id=f"t{number}", text=f"text number {number}", source="raw.jsonl", line=number + 1)
        for number in range(num_tasks)
    ]
    job = Job(
        name=path.name,
        labels=labels,
        per_task=per_task,
        question="How is it?",
        origin="raw.jsonl",
        digests={"raw.jsonl": "sha256:00"},
        by="grace",
        created_ms=1,
    )
    return LabellingFolder.create(path, job, tasks)


def say(folder: LabellingFolder, person: str, answers: Mapping[str, str], **told: Any) -> None:
    """Write answers into a person's log."""
    with folder.log_of(person).writing() as writer:
        for task, label in answers.items():
            writer.add(Answer(task=task, label=label, by=person, at_ms=1_700_000_000_000, **told))


def decide(folder: LabellingFolder, person: str, task: str, label: str, reason: str) -> None:
    """Write a decision."""
    with folder.decision_log.writing() as writer:
        writer.add(Answer(task=task, label=label, note=reason, by=person, at_ms=1_700_000_001_000))
