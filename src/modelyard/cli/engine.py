"""`modelyard engines` and `modelyard engine check`: what each kind of engine can do, and what a running one does."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.output import Json, emit, note, say, table

if TYPE_CHECKING:
    from modelyard.ports.engine import Finding
    from modelyard.ports.sheets import Sheet

engine = typer.Typer(help="Engines behind the gateway.", no_args_is_help=True)
_ENDPOINTS = ("chat", "completions", "embeddings", "responses", "messages")
_DIFFERS = 3


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(engines)
    app.add_typer(engine, name="engine")


def engines(as_json: Json = False) -> None:
    """What each kind of engine can do, and where it differs from what callers expect."""
    from modelyard.ports.sheets import SHEETS

    sheets = list(SHEETS.values())
    emit(sheets, as_json=as_json, text=lambda: _sheets(sheets))


def _sheets(sheets: "list[Sheet]") -> None:
    headings = ("kind", "engine", "speaks", "adapters", "tokenizes", "load told", "run here", "read at")
    rows = [
        (
            sheet.kind,
            sheet.title,
            ", ".join(name for name in _ENDPOINTS if name in sheet.endpoints),
            "while it runs" if sheet.adapters else "-",
            ", ".join(sorted(sheet.tokenize_takes)) or "-",
            "yes" if sheet.metrics else "-",
            "yes" if sheet.live else "samples only",
            sheet.read_at,
        )
        for sheet in sheets
    ]
    table(headings, rows, empty="there are no sheets")
    for sheet in sheets:
        say(f"{sheet.kind}:")
        for defect in sheet.defects:
            say(f"  {defect.what} ({defect.source})")


@engine.command()
def check(
    url: Annotated[str, typer.Argument(help="Where it answers, without /v1: http://127.0.0.1:8000.")],
    kind: Annotated[str, typer.Option(help="Its kind, as `modelyard engines` names it.")] = "openai",
    model: Annotated[str, typer.Option(help="The model to ask; the first that it lists by default.")] = "",
    key_file: Annotated[str, typer.Option(metavar="FILE", help="A file that holds its API key.")] = "",
    as_json: Json = False,
) -> None:
    """Ask a running engine everything, and hold it against its sheet; exit code 3 where it differs."""
    from modelyard.app import check_engine
    from modelyard.cli.progress import showing

    api_key = Path(key_file).read_text().strip() if key_file else ""
    with showing(f"Checking the engine at {url}", quiet=as_json) as progress:
        findings = check_engine(url, kind, model=model, api_key=api_key, progress=progress)
    emit([_as_seen(finding) for finding in findings], as_json=as_json, text=lambda: _findings(findings, kind))
    if any(finding.differs for finding in findings):
        raise typer.Exit(_DIFFERS)


def _as_seen(finding: "Finding") -> dict[str, Any]:
    import msgspec

    return {**msgspec.to_builtins(finding), "differs": finding.differs}


def _findings(findings: "list[Finding]", kind: str) -> None:
    from rich.markup import escape

    words = {True: "yes", False: "no", None: "-"}
    rows = [
        (
            finding.name,
            words[finding.works],
            words[finding.expected] + (" (differs)" if finding.differs else ""),
            escape(finding.seen),
        )
        for finding in findings
    ]
    table(("check", "works", "sheet says", "seen"), rows, empty="nothing was checked")
    differing = [finding.name for finding in findings if finding.differs]
    note(f"differs from the sheet of {kind}: {', '.join(differing)}" if differing else f"it does as a {kind} should")
