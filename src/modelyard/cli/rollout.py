"""`modelyard rollout`: bring a release to its callers, step by step, and back."""

from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.output import Json, ProjectFile, emit, say, table, when

if TYPE_CHECKING:
    from modelyard.ports.rollout import Rollout

Reason = Annotated[str, typer.Option(help="Why; kept for ever.")]

rollouts = typer.Typer(help="Start, watch and stop rollouts.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(rollouts, name="rollout")


@rollouts.command()
def start(
    service: Annotated[str, typer.Argument(help="A service of the project file.")],
    release: Annotated[str, typer.Argument(help="name, name@digest, or a digest's beginning.")],
    plan: Annotated[str, typer.Option(help="A rollout of the project file; the service's own by default.")] = "",
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Start the service's rollout with a release as challenger; the first release of a service takes all traffic.

    `modelyard up` carries it out. The release must have passed its gate, or have an override.
    """
    from modelyard.app import open_app
    from modelyard.cli.tables import rollout_text
    from modelyard.workflows.rollouts import begin_rollout

    with open_app(project) as app:
        config = app.named("services", service)
        steps = app.named("rollouts", plan or config.rollout).plan()
        chosen = app.tools.records.releases.find(release)
        rollout = begin_rollout(app.tools, app.project, service, chosen, steps)
        refs = app.refs()
    emit(rollout, as_json=as_json, text=lambda: rollout_text(rollout, refs))


@rollouts.command("list")
def list_rollouts(project: ProjectFile = "", as_json: Json = False) -> None:
    """The rollouts there are, newest first."""
    from modelyard.app import open_app

    with open_app(project) as app:
        found = app.tools.records.rollouts.newest()
        refs = app.refs()

    def text() -> None:
        lines = [
            (one.id, one.service, refs.get(one.challenger, "?"), one.state, _step_text(one),
             when(one.started_ms))
            for one in found
        ]  # fmt: skip
        headings = ("rollout", "service", "challenger", "state", "step", "started")
        table(headings, lines, empty="No rollouts yet. Start one: modelyard rollout start SERVICE RELEASE")

    emit(found, as_json=as_json, text=text)


@rollouts.command()
def show(
    id: Annotated[str, typer.Argument(help="A rollout's id.")],
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """One rollout: where it stands, and everything that happened with the evidence of the moment."""
    from modelyard.app import open_app
    from modelyard.cli.tables import rollout_text

    with open_app(project) as app:
        rollout = app.tools.records.rollouts.get(id)
        refs = app.refs()
    emit(rollout, as_json=as_json, text=lambda: rollout_text(rollout, refs))


@rollouts.command()
def cancel(
    id: Annotated[str, typer.Argument(help="A running rollout's id.")],
    reason: Reason,
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """End a rollout now: the champion answers everyone again. The challenger stays in staging and may be tried anew."""
    from modelyard.app import open_app
    from modelyard.workflows.rollouts import cancel_rollout

    with open_app(project) as app:
        rollout = cancel_rollout(app.tools, id, reason)
    emit(rollout, as_json=as_json, text=lambda: say(f"{id}: cancelled; the champion answers everyone again"))


@rollouts.command()
def back(
    service: Annotated[str, typer.Argument(help="A service of the project file.")],
    reason: Reason,
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Bring the champion before this one back, at once. It needs no new evidence: it served before."""
    from modelyard.app import open_app
    from modelyard.cli.tables import rollout_text
    from modelyard.workflows.rollouts import roll_back

    with open_app(project) as app:
        app.named("services", service)
        rollout = roll_back(app.tools, service, reason)
        refs = app.refs()
    emit(rollout, as_json=as_json, text=lambda: rollout_text(rollout, refs))


def _step_text(rollout: "Rollout") -> str:
    steps = len(rollout.plan.steps)
    return f"{rollout.step + 1}/{steps}" if steps else "at once"
