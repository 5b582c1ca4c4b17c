"""`modelyard lineage`: from an answer back to the raw files."""

from typing import Annotated

import typer

from modelyard.cli.output import Json, ProjectFile, emit


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(lineage)


def lineage(
    answer: Annotated[str, typer.Argument(metavar="ANSWER_ID", help="The id in the answer a caller got.")],
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Walk back from one answer: interaction, release, run, recipe, dataset, raw files, commit."""
    from modelyard.app import open_app
    from modelyard.cli.tables import trace_text
    from modelyard.registry.lineage import trace

    with open_app(project) as app:
        found = trace(app.tools.records, answer)
    emit(found, as_json=as_json, text=lambda: trace_text(found))
