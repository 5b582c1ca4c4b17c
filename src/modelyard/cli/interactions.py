"""`modelyard requests` and `modelyard usage`: what the gateway answered, one by one and summed."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.output import Json, ProjectFile, emit, table, when

if TYPE_CHECKING:
    from modelyard.ports.interaction import Interaction
    from modelyard.ports.records import Usage

_LONGEST_ID = 12
Service = Annotated[str, typer.Option(help="Of this service alone.")]
Tenant = Annotated[str, typer.Option(help="Of this tenant alone.")]
KeyId = Annotated[str, typer.Option("--key", help="By this key alone: its id, from `modelyard keys list`.")]
Since = Annotated[str, typer.Option(help="From then on: 90m, 36h, 30d, a date in UTC, or a moment with its zone.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("requests")(list_requests)
    app.command("usage")(sum_usage)


def list_requests(
    service: Service = "",
    tenant: Tenant = "",
    key: KeyId = "",
    session: Annotated[str, typer.Option(help="Of this agent's session, by its digest as --json shows it.")] = "",
    trace: Annotated[str, typer.Option(help="Of this trace of the caller.")] = "",
    status: Annotated[str, typer.Option(help="With this status: 503, 4xx, or 400-499.")] = "",
    since: Since = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """The last requests that the gateway answered, newest first: who, which release and why, tokens, cost, time."""
    from msgspec.structs import asdict

    from modelyard.app import open_app
    from modelyard.ports.records import InteractionQuery
    from modelyard.workflows.costs import since as moment
    from modelyard.workflows.usage import statuses_of

    query = InteractionQuery(
        service=service,
        tenant=tenant,
        key_id=key,
        session=session,
        trace=trace,
        statuses=statuses_of(status),
        since_ms=moment(since),
    )
    with open_app(project) as app:
        found = app.tools.records.interactions.find(query, limit=limit)
        refs = app.refs()
    rows = [{**asdict(one), "ref": refs.get(one.release, one.release)} for one in found]
    emit(rows, as_json=as_json, text=lambda: _show_requests(found, refs))


def sum_usage(
    by: Annotated[str, typer.Option(help="Sum by tenant, key, service, release or user.")] = "tenant",
    service: Service = "",
    tenant: Tenant = "",
    key: KeyId = "",
    since: Since = "",
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """What the gateway's answers came to, but for shadows: requests, failures, tokens, cost, what caches saved."""
    from modelyard.app import open_app
    from modelyard.ports.records import InteractionQuery
    from modelyard.workflows.costs import since as moment
    from modelyard.workflows.usage import check_by, total

    of, query = check_by(by), InteractionQuery(service=service, tenant=tenant, key_id=key, since_ms=moment(since))
    with open_app(project) as app:
        found = app.tools.records.interactions.usage(of, query)
        refs = app.refs() if of == "release" else {}
    whole = total(found)
    value = {"by": of, "totals": found, "total": whole}
    emit(value, as_json=as_json, text=lambda: _show_usage(of, [*found, *([whole] if found else [])], refs))


def _show_requests(found: "list[Interaction]", refs: dict[str, str]) -> None:
    headings = ("id", "at", "service", "tenant", "release", "why", "status", "tokens", "cost", "ms", "session")
    table((*headings, "from"), [_request_line(one, refs) for one in found], empty="No requests were recorded yet.")


def _request_line(one: "Interaction", refs: dict[str, str]) -> tuple[str, ...]:
    from modelyard.core.money import format_usd

    return (
        one.id,
        when(one.at_ms),
        one.service,
        one.tenant,
        refs.get(one.release, one.release[:_LONGEST_ID]),
        one.reason or one.role,
        f"{one.status} {one.error}".strip(),
        f"{one.prompt_tokens:,} + {one.completion_tokens:,}",
        format_usd(one.cost_nanousd),
        f"{one.latency_ms:,.0f}",
        one.session[:_LONGEST_ID],
        f"{one.cache} cache" if one.cache else one.replica,
    )


def _show_usage(by: str, rows: "list[Usage]", refs: dict[str, str]) -> None:
    headings: tuple[Any, ...] = (by, "requests", "failures", "prompt tokens", "answer tokens", "cost", "saved")
    table(headings, [_usage_line(one, refs) for one in rows], empty="No requests were recorded yet.")


def _usage_line(one: "Usage", refs: dict[str, str]) -> tuple[str, ...]:
    from modelyard.core.money import format_usd

    counts = (one.requests, one.failures, one.prompt_tokens, one.completion_tokens)
    name = refs.get(one.key, one.key) or "(none)"
    return (name, *(f"{count:,}" for count in counts), format_usd(one.cost_nanousd), format_usd(one.saved_nanousd))
