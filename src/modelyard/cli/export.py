"""`modelyard export`: what a run trained, in the forms that other engines take."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.output import Json, ProjectFile, emit, say, table, when

if TYPE_CHECKING:
    from modelyard.ports.export import Export

exports = typer.Typer(help="Runs in other forms: merged, GGUF, AWQ, GPTQ.", no_args_is_help=True)
Ref = Annotated[str, typer.Argument(metavar="EXPORT", help="name, name@digest, or a digest's beginning.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(exports, name="export")


@exports.command()
def create(
    run: Annotated[str, typer.Argument(help="A run's id, or its name for the newest of it.")],
    format: Annotated[str, typer.Option("--as", help="merged, gguf, awq or gptq.")],
    quantization: Annotated[
        str, typer.Option(help="gguf: q8_0 (default), q4_k_m, f16 ...; awq: w4a16_asym, w4a16; gptq: w4a16, w8a16.")
    ] = "",
    rows: Annotated[
        int | None, typer.Option(help="Rows of the train split that awq and gptq are calibrated on; 256 by default.")
    ] = None,
    to: Annotated[str, typer.Option(metavar="FOLDER", help="Also copy its files there.")] = "",
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Export a run, check the export against what it was made of, and record it. The same export is made once."""
    from modelyard.app import open_app
    from modelyard.cli.progress import showing
    from modelyard.workflows.exports import copy_export, export_run

    with open_app(project) as app:
        found = app.tools.records.runs.find(run)
        with showing(f"Exporting {found.name} as {format}", quiet=as_json) as progress:
            export = export_run(
                app.tools, app.exporters, found, format, quantization=quantization, rows=rows, progress=progress
            )
            if to:
                copy_export(app.tools, export, Path(to))
    emit(_as_seen(export), as_json=as_json, text=lambda: _text(export))


@exports.command("list")
def list_exports(project: ProjectFile = "", as_json: Json = False) -> None:
    """The exports there are, newest first."""
    from modelyard.app import open_app

    with open_app(project) as app:
        found = app.tools.records.exports.newest()

    def text() -> None:
        lines = [(one.ref, one.run_id, f"{one.num_bytes:,}", when(one.created_ms)) for one in found]
        empty = "No exports yet. Make one: modelyard export create RUN --as merged"
        table(("export", "run", "bytes", "made"), lines, empty=empty)

    emit([_as_seen(one) for one in found], as_json=as_json, text=text)


@exports.command()
def show(export: Ref, project: ProjectFile = "", as_json: Json = False) -> None:
    """One export: what it was made of, by which tool, and what its checks found."""
    from modelyard.app import open_app

    with open_app(project) as app:
        found = app.tools.records.exports.find(export)
    emit(_as_seen(found), as_json=as_json, text=lambda: _text(found))


@exports.command()
def copy(
    export: Ref,
    folder: Annotated[str, typer.Argument(help="Where its files shall lie; a new folder, or an empty one.")],
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Copy an export's files to a folder."""
    from modelyard.app import open_app
    from modelyard.workflows.exports import copy_export

    with open_app(project) as app:
        found = app.tools.records.exports.find(export)
        copy_export(app.tools, found, Path(folder))
    emit(_as_seen(found), as_json=as_json, text=lambda: say(f"{found.ref} lies in {folder}"))


@exports.command()
def release(
    export: Ref,
    name: Annotated[str, typer.Argument(help="The release's name: that of the service it shall stand behind.")],
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Make a draft release of an export, to be evaluated and gated on these very files."""
    from modelyard.app import open_app
    from modelyard.workflows.releases import release_of_export

    with open_app(project) as app:
        made = release_of_export(app.tools, name, app.tools.records.exports.find(export))
    said = f"{made.ref}: a draft. Next: modelyard release gate {made.ref} {name}"
    emit({"ref": made.ref, "digest": made.digest, "release": made}, as_json=as_json, text=lambda: say(said))


def _as_seen(export: "Export") -> dict[str, Any]:
    """An export for JSON, with its address."""
    import msgspec

    return {"ref": export.ref, "digest": export.digest, **msgspec.to_builtins(export)}


def _text(export: "Export") -> None:
    from modelyard.core.digests import short

    say(f"{export.ref}  {export.num_bytes:,} bytes in {export.seconds:.1f} s")
    facts = {
        "run": export.run_id,
        "parent": short(export.parent),
        "base": short(export.base_digest),
        "files": short(export.blob),
        "tool": f"{export.tool} {export.tool_version}",
        **{name: short(str(value)) for name, value in export.settings.items()},
        **{name: f"{value:.4g}" for name, value in export.checks.items()},
    }
    table(("", ""), list(facts.items()), empty="")
