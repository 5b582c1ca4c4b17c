"""What became of each task: the label that people agree on or somebody decided, and who said what."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from modelyard.core.clock import iso
from modelyard.core.errors import InvalidInput, Refused
from modelyard.core.files import write_atomically
from modelyard.datasets.labelling.storage import LabellingFolder, lines_of
from modelyard.datasets.labelling.tasks import Answer, Job, Task, folded

How = Literal["agreed", "single", "adjudicated", "majority", "disagreed", "waiting"]
DECIDED: tuple[How, ...] = ("agreed", "single", "adjudicated", "majority")
UNDECIDED: tuple[How, ...] = ("disagreed", "waiting")


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A task with the answers that hold, by person, and what follows from them.

    `single` is decided by one answer, where one was enough; `waiting` has fewer answers than the job wants.
    """

    task: Task
    answers: dict[str, Answer]
    decision: Answer | None
    label: str
    how: How

    @property
    def is_decided(self) -> bool:
        return self.how in DECIDED


def outcomes(folder: LabellingFolder, *, majority: bool = False) -> list[Outcome]:
    """The outcome of every task, in their order. With `majority`, more than half of the answers decide."""
    by_person = folder.answers()
    decisions = folder.decision_log.given()
    found = []
    for id, task in folder.tasks.items():
        answers = {person: given[id] for person, given in by_person.items() if id in given}
        decision = decisions.get(id)
        how, label = _settled(folder.job, list(answers.values()), decision, majority)
        found.append(Outcome(task=task, answers=answers, decision=decision, label=label, how=how))
    return found


def counts(found: Iterable[Outcome]) -> dict[str, int]:
    """How many tasks ended in which way."""
    seen = Counter(one.how for one in found)
    return {how: seen[how] for how in (*DECIDED, *UNDECIDED)}


def finish(
    folder: LabellingFolder, out: Path, *, majority: bool = False, skip_undecided: bool = False
) -> list[Outcome]:
    """Write the decided tasks as JSONL, each with its provenance, and tell the outcomes of all.

    Raises: Refused where tasks are undecided, or none is decided; InvalidInput where `out` is no JSONL file, or one
    of the job's.
    """
    folder.check_out(out)
    if out.suffix not in (".jsonl", ".ndjson"):
        raise InvalidInput(f"{out} does not end in .jsonl", expected="JSONL, which a dataset's `path` can name")
    found = outcomes(folder, majority=majority)
    rows = [_row(folder.job, one) for one in found if one.is_decided]
    if not rows or (len(rows) < len(found) and not skip_undecided):
        raise _undecided(folder.job, counts(found))
    write_atomically(out, lines_of(rows))
    return found


def _settled(job: Job, answers: list[Answer], decision: Answer | None, majority: bool) -> tuple[How, str]:
    if decision:
        return "adjudicated", decision.label
    if len(answers) < max(job.per_task, 1):
        return "waiting", ""
    (most, number), *others = Counter(folded(answer.label) for answer in answers).most_common()
    # Free texts that differ in case and white space alone agree; the first one is taken.
    label = next(answer.label for answer in answers if folded(answer.label) == most)
    if not others:
        return ("agreed" if number > 1 else "single"), label
    if majority and number * 2 > len(answers):
        return "majority", label
    return "disagreed", ""


def _row(job: Job, one: Outcome) -> dict[str, Any]:
    task = one.task
    meta: dict[str, Any] = {
        "job": job.name,
        "how": one.how,
        "by": [_said(answer) for answer in one.answers.values()],
        "decided": _said(one.decision) if one.decision else None,
        "origin": job.origin,
        "source": task.source,
        "line": task.line,
    }
    context = {"context": task.context} if task.context else {}
    return {"id": task.id, "text": task.text, **context, "label": one.label, "meta": meta}


def _said(answer: Answer) -> dict[str, str]:
    told = {"person": answer.by, "label": answer.label, "at": iso(answer.at_ms), "via": answer.via}
    return {**told, "note": answer.note} if answer.note else told


def _undecided(job: Job, found: dict[str, int]) -> Refused:
    disagreed, waiting = found["disagreed"], found["waiting"]
    ways = [f"modelyard label start {job.name} --as PERSON"] if waiting else []
    ways += [f"modelyard label adjudicate {job.name} --as PERSON", "--majority"] if disagreed else []
    return Refused(
        f"{disagreed + waiting} of {sum(found.values())} tasks of '{job.name}' are undecided: "
        f"people disagree on {disagreed}, {waiting} wait for answers",
        expected="a label for every task",
        fix="; or ".join([*ways, "--skip-undecided, which leaves them out"]),
    )
