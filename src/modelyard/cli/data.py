"""`modelyard data`: raw files and production traffic into Datasets."""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from modelyard.cli.output import Json, ProjectFile, emit, note, say, table, when

if TYPE_CHECKING:
    from modelyard.app import App
    from modelyard.ports.dataset import Dataset

data = typer.Typer(help="Prepare datasets and look at them.", no_args_is_help=True)

Ref = Annotated[str, typer.Argument(help="name, name@digest, or a digest's beginning.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show rows too, ten of each kind.")]
ExportFormat = Literal["jsonl", "huggingface"]
_EXPECTATION_FAILED = 2


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(data, name="data")


@data.command()
def prepare(
    name: Annotated[str, typer.Argument(help="A dataset of the project file.")],
    verbose: Verbose = False,
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Prepare a dataset: clean it, drop duplicates, mask personal data, split it, and say what went and why."""
    from modelyard.app import open_app
    from modelyard.cli.progress import showing
    from modelyard.cli.tables import dataset_text
    from modelyard.datasets.collection.reasons import COLLECTING
    from modelyard.workflows.datasets import prepare_dataset

    with open_app(project) as app:
        config = app.named("datasets", name)
        with showing(f"Preparing {name}", quiet=as_json) as progress:
            dataset = prepare_dataset(app.tools, name, config, progress, suites=app.project.suites)

    def text() -> None:
        dataset_text(dataset, verbose=verbose)
        say(f"Next: modelyard data report {dataset.ref} --html report.html")
        if any(step["dropped"] for step in dataset.steps if step["step"] != COLLECTING):
            say(f"Dropped rows, each with its reason: modelyard data rejected {dataset.ref}")

    emit(dataset, as_json=as_json, text=text)


@data.command()
def survey(
    name: Annotated[str, typer.Argument(help="A dataset of the project file with `collect`.")],
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """What a preparation would collect from production now, what it would pass over and why. Writes nothing."""
    from modelyard.app import open_app
    from modelyard.cli.progress import showing
    from modelyard.cli.tables import survey_text
    from modelyard.core.errors import InvalidInput
    from modelyard.workflows.collection import Collection

    with open_app(project) as app:
        config = app.named("datasets", name)
        if config.collect is None:
            raise InvalidInput(f"the dataset '{name}' is made of files", expected="one with `collect`")
        with showing(f"Looking at the traffic for {name}", quiet=as_json) as progress:
            found = Collection(app.tools.records, config.collect).survey(progress)
    emit(found, as_json=as_json, text=lambda: survey_text(found))


@data.command("list")
def list_datasets(project: ProjectFile = "", as_json: Json = False) -> None:
    """The datasets that were prepared, newest first."""
    from modelyard.app import open_app

    with open_app(project) as app:
        found = app.tools.records.datasets.newest()

    def text() -> None:
        lines = [(one.ref, when(one.created_ms), *(f"{rows:,}" for rows in one.rows.values())) for one in found]
        headings = ("dataset", "made", *(found[0].rows if found else ()))
        table(headings, lines, empty="No datasets yet. Prepare one: modelyard data prepare NAME")

    emit(found, as_json=as_json, text=text)


@data.command()
def show(ref: Ref, verbose: Verbose = False, project: ProjectFile = "", as_json: Json = False) -> None:
    """One dataset: its rows, its sources, and what each step dropped."""
    from modelyard.app import open_app
    from modelyard.cli.tables import dataset_text

    with open_app(project) as app:
        dataset = app.tools.records.datasets.find(ref)
    emit(dataset, as_json=as_json, text=lambda: dataset_text(dataset, verbose=verbose))


@data.command()
def head(
    ref: Ref,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "train",
    rows: Annotated[int, typer.Option("--rows", "-n", min=1)] = 5,
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """The first rows of a split, as they are trained on."""
    from modelyard.app import open_app
    from modelyard.workflows.datasets import examples_of

    with open_app(project) as app:
        dataset = app.tools.records.datasets.find(ref)
        found = examples_of(app.tools, dataset, split)[:rows]

    def text() -> None:
        for example in found:
            say(f"{example.id}  {example.source}:{example.line}")
            for turn in example.messages:
                say(f"  {turn.role:>9}: {turn.content}")

    emit(found, as_json=as_json, text=text)


@data.command()
def report(
    ref: Ref,
    html: Annotated[str, typer.Option(metavar="FILE", help="Write the report as a page, too.")] = "",
    verbose: Verbose = False,
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """The report of a dataset: steps, labels, lengths, languages, duplicates, conflicts, personal data, leakage."""
    from modelyard.app import open_app
    from modelyard.cli.tables import sections_text
    from modelyard.core.files import write_atomically
    from modelyard.datasets.report.page import render_page
    from modelyard.datasets.report.reading import read_report
    from modelyard.datasets.report.terminal import report_sections
    from modelyard.workflows.folders import folder_of

    with open_app(project) as app:
        dataset = app.tools.records.datasets.find(ref)
        found = read_report(folder_of(app.tools, dataset))
    if html:
        write_atomically(Path(html), render_page(found).encode())
        note(f"The page: {html}")

    def text() -> None:
        sections_text(report_sections(found, verbose=verbose))
        if not html:
            say(f"With plots: modelyard data report {dataset.ref} --html report.html")

    emit(found, as_json=as_json, text=text)


@data.command()
def rejected(
    ref: Ref,
    step: Annotated[str, typer.Option(help="Only the rows that this step dropped.")] = "",
    rows: Annotated[int, typer.Option("--rows", "-n", min=1)] = 10,
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Rows that were dropped, each with its file, line, step and reason; personal data in them is masked."""
    from modelyard.app import open_app
    from modelyard.core.errors import InvalidInput
    from modelyard.datasets.collection.reasons import COLLECTING
    from modelyard.datasets.report.reading import read_quarantine
    from modelyard.workflows.folders import folder_of

    with open_app(project) as app:
        dataset = app.tools.records.datasets.find(ref)
        dropped = {one["step"]: one["dropped"] for one in dataset.steps if one["step"] != COLLECTING}
        if step and step not in dropped:
            raise InvalidInput(f"the dataset {dataset.ref} went through no step '{step}'", expected=", ".join(dropped))
        found = list(islice(read_quarantine(folder_of(app.tools, dataset), step), rows))
    total = dropped[step] if step else sum(dropped.values())

    def text() -> None:
        lines = [(f"{one['source']}:{one['line']}", one["step"], one["reason"], one["raw"]) for one in found]
        table(("row", "step", "reason", "text"), lines, empty="No row was dropped.")
        if len(found) < total:
            say(f"{total - len(found):,} more: -n {total}")

    emit(found, as_json=as_json, text=text)


@data.command()
def diff(
    a: Annotated[str, typer.Argument(help="The dataset before: name@digest, or a digest's beginning.")],
    b: Annotated[str, typer.Argument(help="The dataset after: name, name@digest, or a digest's beginning.")],
    verbose: Verbose = False,
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """What changed between two datasets: rows, splits, steps, configuration, sources, labels, lengths."""
    from modelyard.app import open_app
    from modelyard.cli.tables import sections_text
    from modelyard.datasets.report.comparing import compare
    from modelyard.datasets.report.terminal import comparison_sections
    from modelyard.workflows.folders import folder_of

    with open_app(project) as app:
        folders = [folder_of(app.tools, app.tools.records.datasets.find(ref)) for ref in (a, b)]
        found = compare(*folders)
    emit(found, as_json=as_json, text=lambda: sections_text(comparison_sections(found, verbose=verbose)))


@data.command()
def check(ref: Ref, project: ProjectFile = "", as_json: Json = False) -> None:
    """What is expected of a dataset, and what it is. Exit code 2 where an expectation is not met.

    The expectations are those of the project file; of a dataset that it no longer names, those it was prepared with.
    """
    from modelyard.app import open_app
    from modelyard.cli.tables import sections_text
    from modelyard.datasets.report.terminal import finding_section

    with open_app(project) as app:
        dataset = app.tools.records.datasets.find(ref)
        findings = _findings(app, dataset)
    emit(findings, as_json=as_json, text=lambda: sections_text([finding_section(findings)]))
    failed = sum(not one["passed"] for one in findings)
    if failed:
        note(f"error: {dataset.ref} does not meet {failed} of {len(findings)} expectations")
        note(f"  Look closer: modelyard data report {dataset.ref} --verbose")
        raise typer.Exit(_EXPECTATION_FAILED)


@data.command()
def export(
    ref: Ref,
    to: Annotated[str, typer.Option(metavar="PATH", help="The file (jsonl) or folder (huggingface) to write.")],
    format: Annotated[ExportFormat, typer.Option(help="jsonl, or huggingface: a `datasets` folder.")] = "jsonl",
    split: Annotated[list[str] | None, typer.Option(help="A split, may be repeated; all by default.")] = None,
    shape: Annotated[str, typer.Option(help="The shape of JSONL rows, as in the project file.")] = "chat",
    dvc: Annotated[bool, typer.Option("--dvc", help="Write PATH.dvc too, for DVC to track.")] = False,
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Write a dataset for other tools: JSONL or Hugging Face `datasets`, with a pointer for DVC."""
    from modelyard.app import open_app
    from modelyard.datasets.exports.dvc import write_dvc_pointer
    from modelyard.datasets.exports.huggingface import export_huggingface
    from modelyard.datasets.exports.jsonl import export_jsonl
    from modelyard.datasets.splits import SPLITS
    from modelyard.workflows.folders import folder_of

    splits = tuple(split or SPLITS)
    _check_splits(splits)
    with open_app(project) as app:
        dataset = app.tools.records.datasets.find(ref)
        folder = folder_of(app.tools, dataset)
    out = Path(to)
    if format == "jsonl":
        export_jsonl(folder, out, splits, shape)
    else:
        export_huggingface(folder, out, splits)
    pointer = write_dvc_pointer(out) if dvc else None
    facts = {"ref": dataset.ref, "path": to, "format": format, "splits": splits, "dvc": str(pointer or "")}

    def text() -> None:
        say(f"{dataset.ref}: {', '.join(splits)} written to {to}")
        if pointer:
            say(f"Track it: git add {pointer} && dvc push")

    emit(facts, as_json=as_json, text=text)


def _check_splits(splits: tuple[str, ...]) -> None:
    from modelyard.core.errors import InvalidInput
    from modelyard.datasets.splits import SPLITS

    for one in splits:
        if one not in SPLITS:
            raise InvalidInput(f"'{one}' is no split of a dataset", expected=", ".join(SPLITS))


def _findings(app: "App", dataset: "Dataset") -> list[dict[str, Any]]:
    from modelyard.workflows.expectations import findings_of

    named = app.project.datasets.get(dataset.name)
    return findings_of(app.tools, dataset, named.expectations if named else None)
