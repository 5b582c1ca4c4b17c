"""`modelyard data`: raw files into Datasets."""

from typing import Annotated

import typer

from modelyard.cli.output import Json, ProjectFile, emit, say, table, when

data = typer.Typer(help="Prepare datasets and look at them.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(data, name="data")


@data.command()
def prepare(
    name: Annotated[str, typer.Argument(help="A dataset of the project file.")],
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Prepare a dataset: clean it, drop duplicates, mask personal data, split it, and say what went and why."""
    from modelyard.app import open_app
    from modelyard.cli.progress import showing
    from modelyard.cli.tables import dataset_text
    from modelyard.workflows.datasets import prepare_dataset

    with open_app(project) as app:
        config = app.named("datasets", name)
        with showing(f"Preparing {name}", quiet=as_json) as progress:
            dataset = prepare_dataset(app.tools, name, config, progress)
    emit(dataset, as_json=as_json, text=lambda: dataset_text(dataset))


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
def show(
    ref: Annotated[str, typer.Argument(help="name, name@digest, or a digest's beginning.")],
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """One dataset: its rows, its sources, and what each step dropped."""
    from modelyard.app import open_app
    from modelyard.cli.tables import dataset_text

    with open_app(project) as app:
        dataset = app.tools.records.datasets.find(ref)
    emit(dataset, as_json=as_json, text=lambda: dataset_text(dataset))


@data.command()
def head(
    ref: Annotated[str, typer.Argument(help="name, name@digest, or a digest's beginning.")],
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
