"""`modelyard cost`: what training and synthesis came to."""

from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.output import Json, ProjectFile, emit, table

if TYPE_CHECKING:
    from modelyard.workflows.costs import Total

_JOULES_PER_KWH = 3_600_000


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(cost)


def cost(
    by: Annotated[str, typer.Option(help="Sum by owner, project, recipe, month or pricing.")] = "recipe",
    since: Annotated[str, typer.Option(help="From then on: 30d, a date in UTC, or a moment with its zone.")] = "",
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """What runs cost, those that failed or were interrupted included, and answers of teachers."""
    from modelyard.app import open_app
    from modelyard.workflows.costs import check_by, expenses, names_of, sum_up, total
    from modelyard.workflows.costs import since as moment

    key, begin_ms = check_by(by), moment(since)
    with open_app(project) as app:
        names = names_of(app.tools, app.project.recipes)
        found = [one for one in expenses(app.tools, names) if one.at_ms >= begin_ms]
    totals = sum_up(found, key)
    whole = total("total", found)
    emit({"by": key, "totals": totals, "total": whole}, as_json=as_json, text=lambda: _cost_text(key, totals, whole))


def _cost_text(by: str, totals: "list[Total]", whole: "Total") -> None:
    lines = [_line(one) for one in [*totals, *([whole] if totals else [])]]
    table((by, "cost", "runs", "device hours", "kWh"), lines, empty="Nothing has cost anything yet.")


def _line(one: "Total") -> tuple[str, ...]:
    from modelyard.core.money import format_usd

    energy = f"{one.energy_joules / _JOULES_PER_KWH:.4g}" if one.energy_joules else "not reported"
    return one.key, format_usd(one.cost_nanousd), f"{one.runs:,}", f"{one.device_seconds / 3600:.3f}", energy
