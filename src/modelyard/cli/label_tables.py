"""How labelling jobs look to a person in a terminal."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modelyard.cli.output import say, table, when
from modelyard.datasets.labelling.outcomes import DECIDED
from modelyard.datasets.labelling.tasks import Job

if TYPE_CHECKING:
    from modelyard.datasets.labelling.summary import Agreement, Figure, Summary
    from modelyard.datasets.outcome import Rejection

_MOST_SHOWN = 10
_HOW = {
    "agreed": "agreed",
    "single": "with one answer",
    "adjudicated": "adjudicated",
    "majority": "by majority",
    "disagreed": "disagreed",
    "waiting": "waiting",
}


def created_text(facts: Mapping[str, Any], rejected: "Sequence[Rejection]") -> None:
    """A new job: how many tasks, and what became of the other rows."""
    job: Job = facts["job"]
    say(f"{job.name}: {facts['num_tasks']:,} tasks from {job.origin}, {', '.join(job.labels) or 'free text'}")
    if facts["num_masked"]:
        say(f"  personal data masked in {facts['num_masked']:,}")
    if facts["num_repeated"]:
        say(f"  {facts['num_repeated']:,} rows repeat another one's text and are asked once")
    if rejected:
        say(f"  {len(rejected):,} rows make no task:")
        lines = [(f"{one.source}:{one.line}", one.reason) for one in rejected[:_MOST_SHOWN]]
        table(("row", "reason"), lines, empty="")
    say(f"It lies in {facts['path']}: commit it, answers and all.")
    say(f"Next: modelyard label start {job.name} --as PERSON")


def jobs_text(found: "Sequence[Summary]") -> None:
    """Jobs, one a line."""
    lines = [
        (one.name, f"{one.num_tasks:,}", f"{sum(one.outcomes[how] for how in DECIDED):,}",
         f"{one.outcomes['disagreed']:,}", f"{one.outcomes['waiting']:,}",
         ", ".join(person.person for person in one.people))
        for one in found
    ]  # fmt: skip
    headings = ("job", "tasks", "decided", "disagreed", "waiting", "people")
    table(headings, lines, empty="No labelling jobs yet. Make one: modelyard label create NAME --from FILE")


def summary_text(summary: "Summary", alpha: "Figure") -> None:
    """One job: tasks, people, agreement."""
    say(f"{summary.name}: {summary.num_tasks:,} tasks from {summary.origin}")
    if summary.question:
        say(f"  {summary.question}")
    say(f"  {', '.join(summary.labels) or 'free text'}; {_wanted(summary.per_task)}")
    outcomes = [(_HOW[how], f"{number:,}") for how, number in summary.outcomes.items() if number]
    table(("tasks", ""), outcomes, empty="")
    people = [
        (one.person, f"{one.num_given:,}", f"{one.num_skipped:,}", when(one.last_ms) if one.last_ms else "")
        for one in summary.people
    ]
    table(("person", "answers", "skipped", "last"), people, empty="Nobody has answered yet.")
    if alpha.value is not None:
        say(f"Krippendorff's alpha {_figure(alpha)}; more: modelyard label agreement {summary.name}")


def agreement_text(found: "Agreement") -> None:
    """Agreement: all together, pair by pair, label by label, and what is confused."""
    if not found.num_shared:
        say("No task has two answers yet, so there is nothing to compare.")
        return
    say(f"{', '.join(found.people)}: {found.num_shared:,} tasks with two answers or more")
    figures = {"same answer": found.raw, "Fleiss' kappa": found.fleiss_kappa}
    figures["Krippendorff's alpha"] = found.krippendorff_alpha
    table(("", "with its 95% interval"), [(name, _figure(one)) for name, one in figures.items()], empty="")
    pairs = [
        (f"{one.people[0]}, {one.people[1]}", f"{one.num_tasks:,}", _figure(one.raw), _figure(one.cohen_kappa))
        for one in found.pairs
    ]
    table(("pair", "tasks", "same answer", "Cohen's kappa"), pairs, empty="")
    labels = [(one.label, f"{one.num_given:,}", _number(one.specific), _number(one.alpha)) for one in found.labels]
    if labels:
        table(("label", "given", "repeated by others", "alpha"), labels, empty="")
    confused = [(f"{one.labels[0]} / {one.labels[1]}", f"{one.num_pairs:,}") for one in found.confused[:_MOST_SHOWN]]
    table(("most confused", "pairs of answers"), confused, empty="Nobody disagrees.")


def finished_text(job: Job, to: str, path: str, found: Mapping[str, int]) -> None:
    """What was written, and how a dataset takes it: its `path` as the project file has it, not as it was typed."""
    written = sum(found[how] for how in DECIDED)
    told = ", ".join(f"{number:,} {_HOW[how]}" for how, number in found.items() if number)
    say(f"{written:,} of {sum(found.values()):,} tasks written to {to}: {told}")
    say("As a dataset, in modelyard.yaml:")
    path = path if re.fullmatch(r"[\w./-]+", path) else json.dumps(path, ensure_ascii=False)
    name = re.sub("[^A-Za-z0-9_-]", "_", job.name)
    say(f'  {name}: {{path: {path}, prompt: "{{text}}", answer: "{{label}}", id: id, meta: meta}}')


def _wanted(per_task: int) -> str:
    if not per_task:
        return "everybody answers all"
    return f"{per_task} {'answers' if per_task > 1 else 'answer'} a task"


def _figure(one: "Figure") -> str:
    if one.value is None:
        return "undefined"
    return f"{one.value:.3f}" + (f" ({one.low:.3f} to {one.high:.3f})" if one.low is not None else "")


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
