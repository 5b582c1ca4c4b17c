"""`modelyard data synthesise`: rows from a teacher."""

from typing import Annotated, Any

import typer

from modelyard.cli.data import data
from modelyard.cli.output import Json, ProjectFile, emit, note, say

_STOPPED = 3


def register(app: typer.Typer) -> None:
    """Add the command to those of `data`."""
    data.command()(synthesise)


def synthesise(
    name: Annotated[str, typer.Argument(help="A synthesis of the project file.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Ask nobody; tell how much it would be at most.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Begin a new log; the old one keeps its answers.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show dropped answers, ten of each kind.")] = False,
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Have a teacher answer prompts or write new rows, into synthetic/NAME.jsonl. Goes on where it was interrupted.

    Exit code 3 where `max_cost` stopped it; the rows so far are written.
    """
    from modelyard.app import open_app
    from modelyard.cli.interruption import leaving_at_once
    from modelyard.cli.progress import showing
    from modelyard.workflows.synthesis import foresee, make_plan, synthesise

    with leaving_at_once(), open_app(project) as app:
        config, root = app.named("synthesis", name), app.places.root
        with showing(f"Reading the seeds of {name}", quiet=as_json):
            plan = make_plan(name, config, root)
        if dry_run:
            foreseen = foresee(plan, root, restart=restart)
            emit(foreseen, as_json=as_json, text=lambda: _foreseen_text(foreseen))
            return
        teacher = app.teacher(config)
        with showing(f"Asking {config.model}", quiet=as_json) as progress:
            report = synthesise(plan, root, teacher, progress, restart=restart)
    emit(report, as_json=as_json, text=lambda: _report_text(report, verbose=verbose))
    if not report["is_complete"]:
        left = report["requests"]["left"]
        note(f"stopped: the next of {left:,} questions left might pass max_cost, {report['max_cost']} dollars")
        note("  Raise max_cost and run the same command: it goes on where it was.")
        raise typer.Exit(_STOPPED)


def _report_text(report: dict[str, Any], *, verbose: bool) -> None:
    from modelyard.cli.tables import sections_text
    from modelyard.datasets.report.terminal import example_sections, steps_section
    from modelyard.datasets.synthesis.report import cost_text

    requests, tokens = report["requests"], report["tokens"]
    say(f"{report['synthesis']}: {report['rows']:,} rows from {report['answers']:,} answers of {report['model']}")
    say(f"  asked {requests['asked']:,} now, {requests['from_log']:,} were answered before")
    say(f"  {tokens['prompt']:,} tokens in, {tokens['completion']:,} out: {cost_text(report)}")
    sections_text([steps_section(report["steps"]), *(example_sections(report["steps"]) if verbose else ())])
    say(f"Rows: synthetic/{report['synthesis']}.jsonl, a dataset's `path` as they are, with `meta: meta`")


def _foreseen_text(foreseen: dict[str, Any]) -> None:
    from modelyard.cli.tables import sections_text
    from modelyard.core.money import format_usd
    from modelyard.datasets.report.terminal import steps_section

    say(f"{foreseen['synthesis']}: {foreseen['prompts']:,} prompts from {foreseen['seeds']:,} seeds")
    say(
        f"  {foreseen['requests']:,} requests to {foreseen['model']}, {foreseen['requests_missing']:,} not answered yet"
    )
    tokens_in, tokens_out = foreseen["prompt_tokens_at_most"], foreseen["completion_tokens_at_most"]
    say(f"  at most {tokens_in:,} tokens in and {tokens_out:,} out: {format_usd(foreseen['cost_nanousd_at_most'])}")
    if foreseen["max_cost"] is not None:
        spent = format_usd(foreseen["spent_nanousd"])
        say(f"  max_cost {foreseen['max_cost']} dollars, of which {spent} may be spent already")
    sections_text([steps_section(foreseen["steps"])])
    say("The first prompt:")
    for turn in foreseen["example"]:
        say(f"  {turn['role']:>9}: {turn['content']}")
