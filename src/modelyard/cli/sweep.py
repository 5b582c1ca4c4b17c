"""`modelyard sweep`: which values of a recipe's fields are best."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from modelyard.cli.output import Json, ProjectFile, emit, say, table

if TYPE_CHECKING:
    from modelyard.workflows.sweeps import Sweep


class _RunByDefault(TyperGroup):
    """`sweep NAME DATASET` is short for `sweep run NAME DATASET`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help", "-h"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


sweeps = typer.Typer(
    cls=_RunByDefault,
    no_args_is_help=True,
    help="Try values of a recipe's fields, each in a run of its own. `sweep NAME DATASET` is short for `sweep run`.",
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(sweeps, name="sweep")


@sweeps.command()
def run(
    name: Annotated[str, typer.Argument(help="A sweep of the project file.")],
    dataset: Annotated[str, typer.Argument(help="A prepared dataset: name, or name@digest.")],
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Train with every set of values and find the best. Goes on where it was interrupted."""
    from modelyard.app import open_app
    from modelyard.cli.progress import showing
    from modelyard.workflows.sweeps import run_sweep

    with open_app(project) as app:
        config = app.named("sweeps", name)
        recipe = app.named("recipes", config.recipe)
        found = app.tools.records.datasets.find(dataset)
        with showing(f"Sweep {name} on {found.ref}", quiet=as_json) as progress:
            sweep = run_sweep(app.tools, name, config, recipe, found, app.training_terms, progress)
    emit(_for_json(sweep), as_json=as_json, text=lambda: _text(sweep))


@sweeps.command()
def show(
    ref: Annotated[str, typer.Argument(help="The name of a sweep, for the newest of it, or the id of its run.")],
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """The trials of a sweep, the best, and which are as good."""
    from modelyard.app import open_app
    from modelyard.workflows.sweeps import find_sweep

    with open_app(project) as app:
        sweep = find_sweep(app.tools, ref)
    emit(_for_json(sweep), as_json=as_json, text=lambda: _text(sweep))


def _for_json(sweep: "Sweep") -> dict[str, Any]:
    return {
        "run": sweep.run,
        "state": sweep.state,
        "config": sweep.config.model_dump(mode="json"),
        "trials": sweep.trials,
        "choice": sweep.choice,
    }


def _text(sweep: "Sweep") -> None:
    from modelyard.core.money import format_usd

    metric, choice = sweep.config.metric, sweep.choice
    say(f"{sweep.run.name}  {sweep.state}  {sweep.run.id}")
    lines = [
        (
            str(trial.number),
            ", ".join(f"{field} {value}" for field, value in trial.values.items()),
            trial.state,
            _measured(trial.value, trial.error) or trial.note,
            f"{trial.num_parameters:,.0f}",
            f"{trial.seconds:.1f} s",
        )
        for trial in sweep.trials
    ]
    table(("trial", "values", "state", metric, "learnt parameters", "training"), lines, empty="No trial yet.")
    if choice is not None:
        best, chosen = (_spoken(sweep, number) for number in (choice.best, choice.chosen))
        say(f"best    {best}; \u00b1 is the standard error over {choice.error_over}")
        if choice.tied:
            tied = ", ".join(str(number) for number in choice.tied)
            say(f"tied    within one standard error of it: {'trial' if len(choice.tied) == 1 else 'trials'} {tied}")
        say(f"chosen  {chosen}" + (", the simplest of these" if choice.tied else ""))
    if sweep.state == "finished":
        say(f"training  {sweep.run.train_seconds:.1f} s, {format_usd(sweep.run.cost_nanousd)}")
    elif sweep.run.error:
        say(sweep.run.error)


def _spoken(sweep: "Sweep", number: int) -> str:
    trial = next(one for one in sweep.trials if one.number == number)
    runs = f"{'run' if len(trial.runs) == 1 else 'runs'} {', '.join(trial.runs)}"
    return f"trial {number}: {sweep.config.metric} {_measured(trial.value, trial.error)} ({runs})"


def _measured(value: float | None, error: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" + (f" \u00b1 {error:.2g}" if error is not None else "")
