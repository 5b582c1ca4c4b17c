"""`modelyard label`: texts labelled by people, and what they agree on."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.output import Json, ProjectFile, emit, note, say

if TYPE_CHECKING:
    from modelyard.app import App
    from modelyard.datasets.labelling.sittings import Sitting
    from modelyard.datasets.labelling.storage import LabellingFolder

label = typer.Typer(help="Have people label texts, and make a dataset of what they agree on.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A labelling job, from `modelyard label list`.")]
Person = Annotated[str, typer.Option("--as", metavar="PERSON", help="Who answers; by default who is logged in.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(label, name="label")


@label.command()
def create(
    name: Annotated[str, typer.Argument(help="The job's name; it lies in labelling/NAME beside the project file.")],
    origin: Annotated[str, typer.Option("--from", metavar="FILE|DATASET", help="What to label.")],
    text: Annotated[str, typer.Option(help="A field, or a template such as '{title}: {body}'.")] = "",
    context: Annotated[str, typer.Option(help="A field or template shown beside the text.")] = "",
    id: Annotated[str, typer.Option(help="The field that names a row; without one its text does.")] = "",
    split: Annotated[str, typer.Option(help="Of a dataset: train, validation or test; all by default.")] = "",
    labels: Annotated[str, typer.Option(metavar="A,B,C", help="The labels to choose from; none for free text.")] = "",
    per_task: Annotated[int, typer.Option(min=0, help="How many people answer each task; 0: everybody all.")] = 0,
    sample: Annotated[int, typer.Option(min=0, help="Take this many rows only, by chance; 0: all.")] = 0,
    seed: Annotated[int, typer.Option(help="Another number takes another sample.")] = 0,
    question: Annotated[str, typer.Option(help="What is asked of each text.")] = "",
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Make a labelling job of files or of a dataset; personal data in the texts is masked."""
    from modelyard.app import open_app
    from modelyard.cli.label_tables import created_text
    from modelyard.cli.progress import showing
    from modelyard.datasets.labelling.gathering import Choice
    from modelyard.workflows.labelling import JobPlan, create_job

    with open_app(project) as app:
        plan = JobPlan(
            name=name,
            origin=origin,
            split=split,
            choice=Choice(text=text, context=context, id=id),
            labels=tuple(labels.split(",")) if labels else (),
            per_task=per_task,
            question=question,
            num_sampled=sample,
            seed=seed,
            by=app.settings.user,
        )
        with showing(f"Gathering tasks for {name}", quiet=as_json) as progress:
            folder, gathered = create_job(app.places.root, plan, lambda: app.tools, progress)
    tasks = list(folder.tasks.values())
    facts = {
        "job": folder.job,
        "path": str(folder.path),
        "num_tasks": len(tasks),
        "num_masked": sum(task.is_masked for task in tasks),
        "num_repeated": gathered.num_repeated,
        "rejected": gathered.rejected,
    }

    emit(facts, as_json=as_json, text=lambda: created_text(facts, gathered.rejected))


@label.command("list")
def list_jobs(project: ProjectFile = "", as_json: Json = False) -> None:
    """The labelling jobs of the project."""
    from modelyard.app import open_app
    from modelyard.cli.label_tables import jobs_text
    from modelyard.datasets.labelling.storage import LabellingFolder
    from modelyard.datasets.labelling.summary import summarise

    with open_app(project) as app:
        found = [summarise(folder) for folder in LabellingFolder.all(app.places.root)]
    emit(found, as_json=as_json, text=lambda: jobs_text(found))


@label.command()
def show(name: Name, project: ProjectFile = "", as_json: Json = False) -> None:
    """One job: how far each person is, what became of the tasks, how far people agree."""
    from modelyard.app import open_app
    from modelyard.cli.label_tables import summary_text
    from modelyard.cli.progress import showing
    from modelyard.datasets.labelling.summary import alpha, summarise

    with open_app(project) as app:
        folder = _folder(app, name)
    with showing(f"Counting {name}", quiet=as_json):
        summary, agreed = summarise(folder), alpha(folder)
    facts = {"job": summary, "krippendorff_alpha": agreed}
    emit(facts, as_json=as_json, text=lambda: summary_text(summary, agreed))


@label.command()
def start(name: Name, person: Person = "", project: ProjectFile = "", as_json: Json = False) -> None:
    """Label in the terminal, a key an answer; or by lines from a pipe. Leave at any time, the same command goes on."""
    from modelyard.app import open_app
    from modelyard.datasets.labelling.sittings import labelling

    with open_app(project) as app, labelling(_folder(app, name), person or app.settings.user) as sitting:
        _sit(sitting, as_json=as_json, then=f"modelyard label show {name}")


@label.command()
def adjudicate(name: Name, person: Person = "", project: ProjectFile = "", as_json: Json = False) -> None:
    """Decide the tasks on which people disagree, with a reason for each."""
    from modelyard.app import open_app
    from modelyard.datasets.labelling.sittings import adjudication

    with open_app(project) as app, adjudication(_folder(app, name), person or app.settings.user) as sitting:
        _sit(sitting, as_json=as_json, then=f"modelyard label finish {name} --to FILE.jsonl")


@label.command()
def export(
    name: Name,
    to: Annotated[str, typer.Option(metavar="FILE", help="The file to write; .jsonl or .csv says which format.")],
    person: Annotated[str, typer.Option("--as", metavar="PERSON", help="Show this person's answers alone.")] = "",
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Write the tasks with their answers, to label in a spreadsheet or elsewhere."""
    from modelyard.app import open_app
    from modelyard.datasets.labelling.exchange import export_tasks

    with open_app(project) as app:
        number = export_tasks(_folder(app, name), Path(to), person)

    def text() -> None:
        say(f"{number:,} tasks written to {to}")
        say(f"Fill in `label`, then: modelyard label import {name} {to} --as {person or 'PERSON'}")

    emit({"name": name, "path": to, "num_tasks": number}, as_json=as_json, text=text)


@label.command("import")
def import_file(
    name: Name,
    file: Annotated[str, typer.Argument(help="Rows with id, label and perhaps note, in any format that data has.")],
    person: Person = "",
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Take a person's answers from a file, all of them or none. The same file again changes nothing."""
    from modelyard.app import open_app
    from modelyard.cli.progress import showing
    from modelyard.datasets.labelling.exchange import import_answers

    with open_app(project) as app, showing(f"Reading {file}", quiet=as_json):
        who = person or app.settings.user
        found = import_answers(_folder(app, name), Path(file), who)

    def text() -> None:
        say(f"{who}: {found.num_new:,} new, {found.num_same:,} as before, {found.num_blank:,} rows without a label")

    emit(found, as_json=as_json, text=text)


@label.command("agreement")
def show_agreement(
    name: Name,
    seed: Annotated[int, typer.Option(help="Of the samples behind the intervals.")] = 0,
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """How far people agree beyond chance, with 95% intervals; label by label, and what they confuse."""
    from modelyard.app import open_app
    from modelyard.cli.label_tables import agreement_text
    from modelyard.cli.progress import showing
    from modelyard.datasets.labelling.summary import agreement

    with open_app(project) as app:
        folder = _folder(app, name)
    with showing(f"Comparing the answers of {name}", quiet=as_json):
        found = agreement(folder, seed=seed)
    emit(found, as_json=as_json, text=lambda: agreement_text(found))


@label.command()
def finish(
    name: Name,
    to: Annotated[str, typer.Option(metavar="FILE", help="The JSONL file to write, for a dataset's `path`.")],
    majority: Annotated[bool, typer.Option("--majority", help="Let more than half of the answers decide.")] = False,
    skip_undecided: Annotated[bool, typer.Option("--skip-undecided", help="Leave undecided tasks out.")] = False,
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Write what people agreed on or somebody decided, each row with who, when and how.

    Exit code 3 where tasks are undecided.
    """
    from modelyard.app import open_app
    from modelyard.cli.label_tables import finished_text
    from modelyard.datasets.labelling.outcomes import counts
    from modelyard.datasets.labelling.outcomes import finish as write

    with open_app(project) as app:
        folder = _folder(app, name)
        found = counts(write(folder, Path(to), majority=majority, skip_undecided=skip_undecided))
        path = os.path.relpath(to, app.places.root)
    facts: dict[str, Any] = {"name": name, "path": to, "outcomes": found}
    emit(facts, as_json=as_json, text=lambda: finished_text(folder.job, to, path, found))


def _folder(app: "App", name: str) -> "LabellingFolder":
    from modelyard.datasets.labelling.storage import LabellingFolder, job_path

    return LabellingFolder.open(job_path(app.places.root, name))


def _sit(sitting: "Sitting", *, as_json: bool, then: str) -> None:
    from modelyard.cli.labeller import sit

    sit(sitting)
    facts = {
        "person": sitting.person,
        "num_given": sitting.num_given,
        "num_skipped": sitting.num_skipped,
        "num_waiting": len(sitting.waiting()),
    }

    def text() -> None:
        skipped = f", {sitting.num_skipped:,} skipped, which come again" if sitting.num_skipped else ""
        say(f"{sitting.person}: {sitting.num_given:,} done now, {facts['num_waiting']:,} waiting{skipped}")
        note(f"Next: {then}")

    emit(facts, as_json=as_json, text=text)
