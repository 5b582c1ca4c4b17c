"""`modelyard release`: candidates, their evidence and their stages."""

from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.output import Json, ProjectFile, emit, say, table, when

if TYPE_CHECKING:
    from modelyard.workflows.verdicts import Decision

releases = typer.Typer(help="Releases: evidence, verdicts, approvals, stages.", no_args_is_help=True)
Ref = Annotated[str, typer.Argument(metavar="RELEASE", help="name, name@digest, or a digest's beginning.")]
Reason = Annotated[str, typer.Option(help="Why; kept for ever.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(releases, name="release")


@releases.command("list")
def list_releases(project: ProjectFile = "", as_json: Json = False) -> None:
    """The releases there are with their stages, newest first."""
    from modelyard.app import open_app

    with open_app(project) as app:
        store = app.tools.records.releases
        found = [(release, store.stage(release.digest)) for release in store.newest()]

    def text() -> None:
        lines = [(one.ref, stage, one.base.name, when(one.created_ms)) for one, stage in found]
        table(("release", "stage", "base", "made"), lines, empty="No releases yet. Make one: modelyard tune SERVICE")

    rows = [{"ref": one.ref, "digest": one.digest, "stage": stage, "release": one} for one, stage in found]
    emit(rows, as_json=as_json, text=text)


@releases.command()
def show(release: Ref, project: ProjectFile = "", as_json: Json = False) -> None:
    """One release: what it is made of, its stage and how it got there, its reports, verdicts and approvals."""
    from modelyard.app import open_app
    from modelyard.cli.tables import release_text

    with open_app(project) as app:
        records = app.tools.records
        found = records.releases.find(release)
        verdicts = records.verdicts.newest(found.digest)
        facts = {
            "ref": found.ref,
            "digest": found.digest,
            "stage": records.releases.stage(found.digest),
            "release": found,
            "moves": records.releases.moves(found.digest),
            "reports": records.reports.newest(found.digest),
            "verdicts": verdicts,
            "approvals": [one for verdict in verdicts for one in records.verdicts.approvals(verdict.id)],
        }
    emit(facts, as_json=as_json, text=lambda: release_text(facts))


@releases.command()
def card(release: Ref, project: ProjectFile = "", as_json: Json = False) -> None:
    """The model card, in Markdown."""
    from modelyard.app import open_app
    from modelyard.workflows.releases import model_card

    with open_app(project) as app:
        text = model_card(app.tools, app.tools.records.releases.find(release))
    emit({"card": text}, as_json=as_json, text=lambda: say(text))


@releases.command()
def evaluate(
    release: Ref,
    suite: Annotated[str, typer.Argument(help="A suite of the project file.")],
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Evaluate a release on a suite, through the engine that would serve it."""
    from modelyard.app import open_app
    from modelyard.cli.progress import showing
    from modelyard.cli.tables import report_text
    from modelyard.workflows.reports import evaluate_release

    with open_app(project) as app:
        found = app.tools.records.releases.find(release)
        chosen = app.named("suites", suite)
        with showing(f"Evaluating {found.ref}", quiet=as_json) as progress, app.engine_for(found.base) as connect:
            report = evaluate_release(app.tools, connect, found, suite, chosen, progress)
    emit(report, as_json=as_json, text=lambda: report_text(found, report))


@releases.command()
def gate(
    release: Ref,
    service: Annotated[str, typer.Argument(help="A service of the project file: its suite and policy judge.")],
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Evaluate a release and judge it by the service's policy. Exit code 3 where the gate says no."""
    from modelyard.app import open_app
    from modelyard.cli.progress import showing
    from modelyard.cli.tables import verdict_text
    from modelyard.workflows.verdicts import gate_release

    with open_app(project) as app:
        app.named("services", service)
        found = app.tools.records.releases.find(release)
        with showing(f"Gating {found.ref}", quiet=as_json) as progress, app.engine_for(found.base) as connect:
            verdict = gate_release(app.tools, app.project, service, connect, found, app.tokenizer_of(found), progress)
    emit(verdict, as_json=as_json, text=lambda: verdict_text(found, verdict))
    if not verdict.passed:
        raise typer.Exit(3)


@releases.command()
def approve(release: Ref, reason: Reason, project: ProjectFile = "", as_json: Json = False) -> None:
    """Approve the newest verdict on a release, as the person that MODELYARD_USER or the login names."""
    _decide(release, "approve", reason, project, as_json)


@releases.command()
def reject(release: Ref, reason: Reason, project: ProjectFile = "", as_json: Json = False) -> None:
    """Reject the newest verdict on a release."""
    _decide(release, "reject", reason, project, as_json)


@releases.command()
def override(release: Ref, reason: Reason, project: ProjectFile = "", as_json: Json = False) -> None:
    """Let a release whose gate said no go on trial traffic. It is recorded, and never lets it into production."""
    _decide(release, "override", reason, project, as_json)


def _decide(release: str, decision: "Decision", reason: str, project: str, as_json: bool) -> None:
    from msgspec import to_builtins

    from modelyard.app import open_app
    from modelyard.workflows.verdicts import decide

    with open_app(project) as app:
        found = app.tools.records.releases.find(release)
        approval = decide(app.tools, found, decision, reason)
        verdict = app.tools.records.verdicts.get(approval.verdict_id)
    on = f"the verdict {verdict.id} under the policy '{verdict.policy}'"
    said = f"{found.ref}: {decision} by {approval.person} on {on}, recorded"
    emit({**to_builtins(approval), "policy": verdict.policy}, as_json=as_json, text=lambda: say(said))


@releases.command()
def archive(release: Ref, reason: Reason, project: ProjectFile = "", as_json: Json = False) -> None:
    """Put a release without traffic away: kept for audit and rollback, no new traffic."""
    from modelyard.app import open_app
    from modelyard.workflows.releases import archive_release

    with open_app(project) as app:
        found = app.tools.records.releases.find(release)
        move = archive_release(app.tools, found, reason)
    emit(move, as_json=as_json, text=lambda: say(f"{found.ref}: {move.from_stage} to archived"))
