"""`modelyard reproduce`: train a run again and say whether the same came out."""

from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.output import Json, ProjectFile, emit, say, table

if TYPE_CHECKING:
    from modelyard.training.comparison import Compared, Difference
    from modelyard.workflows.reproduction import Check, Reproduction

_DIFFERS = 3


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(reproduce)


def reproduce(
    ref: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or its name for the newest of it.")],
    check_only: Annotated[bool, typer.Option("--check-only", help="Look at what it needs; train nothing.")] = False,
    against: Annotated[str, typer.Option(metavar="RUN", help="Compare with this run; train nothing.")] = "",
    tolerance_losses: Annotated[float, typer.Option(min=0, help="Of losses and metrics, relative above 1.")] = 1e-3,
    tolerance_weights: Annotated[float, typer.Option(min=0, help="Of a tensor, relative to its largest value.")] = 1e-3,
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Train a run again from its lineage and compare losses and weights. Exit code 3 where they differ.

    With --check-only, exit code 3 where something that the run was made from is not here any more.
    """
    from modelyard.app import open_app
    from modelyard.cli.progress import showing
    from modelyard.training.comparison import Tolerances
    from modelyard.workflows.reproduction import check_run, compare_runs, reproduce_run

    tolerances = Tolerances(losses=tolerance_losses, weights=tolerance_weights)
    with open_app(project) as app:
        run = app.tools.records.runs.find(ref)
        if check_only:
            check = check_run(app.tools, run)
            emit(check, as_json=as_json, text=lambda: _check_text(check))
            raise typer.Exit(0 if check.is_possible else _DIFFERS)
        if against:
            found = compare_runs(app.tools, run, app.tools.records.runs.find(against), tolerances)
        else:
            with showing(f"Training {run.name} again", quiet=as_json) as progress:
                found = reproduce_run(app.tools, run, app.training_terms, tolerances, progress)
    emit(found, as_json=as_json, text=lambda: _reproduction_text(found))
    if found.verdict == "differs":
        raise typer.Exit(_DIFFERS)


def _check_text(check: "Check") -> None:
    say(f"{check.run} " + ("can be trained again here" if check.is_possible else "cannot be trained again here"))
    for lost in check.missing:
        say(f"  {lost}")
    _differences_text(check.differences, "now")


def _reproduction_text(found: "Reproduction") -> None:
    say(f"{found.verdict}: {found.again} against {found.run}")
    say(f"  weights: {found.weights_verdict}, {found.num_tensors} tensors")
    if found.cause:
        say(f"  cause: {found.cause}")
    _compared_text([*found.metrics, *found.weights])
    allowed = found.tolerances
    say(f"Tolerances: {allowed.losses:g} for losses and metrics, {allowed.weights:g} for weights.")
    _differences_text(found.differences, "then")


def _compared_text(compared: "list[Compared]") -> None:
    lines = [(one.name, one.verdict, f"{one.max_abs:.3g}", f"{one.max_relative:.3g}", one.note) for one in compared]
    table(("compared", "", "largest difference", "relative", ""), lines, empty="")


def _differences_text(differences: "tuple[Difference, ...]", second: str) -> None:
    lines = [(one.what, one.first, one.second, "yes" if one.decides else "hardly") for one in differences]
    nothing = "Data, recipe, machine, packages and code are the same."
    table(("not the same", "the run", second, "changes numbers"), lines, empty=nothing)
