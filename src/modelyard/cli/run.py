"""`modelyard train`, `modelyard tune` and `modelyard run`: fine-tuning."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.output import Json, ProjectFile, emit, say, table, when

if TYPE_CHECKING:
    from modelyard.ports.run import Run

runs = typer.Typer(help="Look at training runs.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(train)
    app.command()(tune)
    app.add_typer(runs, name="run")


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe of the project file.")],
    dataset: Annotated[str, typer.Argument(help="A prepared dataset: name, or name@digest.")],
    name: Annotated[str, typer.Option(help="The run's name; the recipe's by default.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, count and show what would be trained on; train nothing.")
    ] = False,
    render: Annotated[
        str, typer.Option(metavar="KIND", help="Train nothing: write a job for a cluster into --to. KIND is kubeflow.")
    ] = "",
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="Where --render writes.")] = Path("manifests"),
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Fine-tune the recipe's base on a dataset."""
    if dry_run:
        _plan(recipe, dataset, project, as_json)
        return
    if render:
        _render(render, recipe, dataset, name, to, project, as_json=as_json)
        return
    from modelyard.app import open_app
    from modelyard.cli.progress import showing
    from modelyard.cli.tables import run_text
    from modelyard.core.ids import new_id
    from modelyard.workflows.runs import train_run

    with open_app(project) as app:
        chosen = app.named("recipes", recipe)
        found = app.tools.records.datasets.find(dataset)
        with showing(f"Training {recipe} on {found.ref}", quiet=as_json) as progress:
            run = train_run(app.tools, new_id(), name or recipe, chosen, found, app.training_terms, progress)
    emit(run, as_json=as_json, text=lambda: run_text(run, run.state))


def _plan(recipe: str, dataset: str, project: str, as_json: bool) -> None:
    """Print what a run would take; exit with code 2 where a check fails."""
    from modelyard.app import open_app
    from modelyard.cli.plan_tables import dry_run_text
    from modelyard.cli.progress import showing
    from modelyard.workflows.plans import dry_run

    with open_app(project) as app:
        chosen = app.named("recipes", recipe)
        found = app.tools.records.datasets.find(dataset)
        with showing(f"Planning {recipe} on {found.ref}", quiet=as_json) as progress:
            tried = dry_run(app.tools, chosen, found, app.training_terms, progress)
    emit(tried, as_json=as_json, text=lambda: dry_run_text(tried))
    if not tried.passed:
        raise typer.Exit(2)


def _render(kind: str, recipe: str, dataset: str, name: str, to: Path, project: str, *, as_json: bool) -> None:
    from modelyard.app import open_app
    from modelyard.cli.progress import showing
    from modelyard.core.errors import InvalidInput
    from modelyard.workflows.rendering import DATA, render_kubeflow

    if kind != "kubeflow":
        raise InvalidInput(f"--render is '{kind}'", expected="kubeflow", fix="write --render kubeflow")
    with open_app(project) as app:
        chosen, config = app.named("recipes", recipe), app.project.compute.kubernetes
        if config is None:
            raise InvalidInput(
                "the project file does not say on what a job runs",
                expected="compute.kubernetes, with an image at least",
                fix="add `kubernetes: {image: REGISTRY/IMAGE:TAG}` under `compute`",
            )
        found = app.tools.records.datasets.find(dataset)
        with showing(f"Writing {to}", quiet=as_json):
            facts = render_kubeflow(app.tools, name or recipe, chosen, found, app.training_terms, config, to)

    def text() -> None:
        say(f"{facts['job']}: written to {to}")
        say(f"  onto the volume, at {facts['volume']}: what lies in {to / DATA}; {facts['base']} as {facts['base_at']}")

    emit(facts, as_json=as_json, text=text)


def tune(
    service: Annotated[str, typer.Argument(help="A service of the project file.")],
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Make a candidate release for a service: prepare, train, evaluate, gate. Goes on where it was interrupted."""
    from modelyard.app import open_app
    from modelyard.cli.interruption import leaving_at_once
    from modelyard.cli.progress import showing
    from modelyard.cli.tables import verdict_text
    from modelyard.workflows.tune import tune_service

    with leaving_at_once(), open_app(project) as app, showing(f"Tuning {service}", quiet=as_json) as progress:
        app.named("services", service)
        digest, verdict_id = tune_service(
            app.tools, app.project, service, app.engine_for, app.tokenizer_of, app.training_terms, progress
        )
        verdict = app.tools.records.verdicts.get(verdict_id)
        release = app.tools.records.releases.get(digest)
    emit(
        {"release": release.digest, "ref": release.ref, "verdict": verdict},
        as_json=as_json,
        text=lambda: verdict_text(release, verdict),
    )
    if not verdict.passed:
        raise typer.Exit(3)


@runs.command("list")
def list_runs(project: ProjectFile = "", as_json: Json = False) -> None:
    """The runs there are, newest first."""
    from modelyard.app import open_app
    from modelyard.workflows.runs import state_of

    with open_app(project) as app:
        found = [(one, state_of(app.tools, one)) for one in app.tools.records.runs.newest()]

    def text() -> None:
        lines = [(one.id, one.name, state, when(one.started_ms), f"{one.train_seconds:.1f} s") for one, state in found]
        table(("run", "name", "state", "started", "training"), lines, empty="No runs yet. Try: modelyard train --help")

    emit([_as_seen(one, state) for one, state in found], as_json=as_json, text=text)


@runs.command()
def show(
    ref: Annotated[str, typer.Argument(help="A run's id, or its name for the newest of it.")],
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """One run with its recipe, lineage and metrics."""
    from modelyard.app import open_app
    from modelyard.cli.tables import run_text
    from modelyard.workflows.runs import state_of

    with open_app(project) as app:
        run = app.tools.records.runs.find(ref)
        state = state_of(app.tools, run)
    emit(_as_seen(run, state), as_json=as_json, text=lambda: run_text(run, state))


@runs.command()
def resume(
    ref: Annotated[str, typer.Argument(help="A run's id, or its name for the newest of it.")],
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Go on with a run that failed, was interrupted or died, from its last checkpoint."""
    from modelyard.app import open_app
    from modelyard.cli.progress import showing
    from modelyard.cli.tables import run_text
    from modelyard.workflows.runs import resume_run

    with open_app(project) as app, showing(f"Training {ref}", quiet=as_json) as progress:
        run = resume_run(app.tools, ref, app.training_terms, progress)
    emit(run, as_json=as_json, text=lambda: run_text(run, run.state))


def _as_seen(run: "Run", state: str) -> dict[str, Any]:
    """A run for JSON, with the state that is true now."""
    import msgspec

    return {**msgspec.to_builtins(run), "state": state}
