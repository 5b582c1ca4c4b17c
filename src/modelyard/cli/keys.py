"""`modelyard keys`: who may call the gateway, and for what."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.output import Json, ProjectFile, emit, say, table, when

if TYPE_CHECKING:
    from modelyard.ports.limits import Key

keys = typer.Typer(help="API keys of the gateway.", no_args_is_help=True)
Days = Annotated[int, typer.Option(min=0, max=36500, help="Days until it expires; 0 for never.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(keys, name="keys")


@keys.command()
def create(
    tenant: Annotated[str, typer.Argument(help="Who the key is for.")],
    scope: Annotated[list[str] | None, typer.Option(help="Such as chat; may be repeated; all by default.")] = None,
    service: Annotated[list[str] | None, typer.Option(help="May be repeated; all by default.")] = None,
    rpm: Annotated[int, typer.Option(min=0, help="Requests per minute; 0 for any.")] = 0,
    tpm: Annotated[int, typer.Option(min=0, help="Tokens per minute; 0 for any.")] = 0,
    daily_usd: Annotated[str, typer.Option(help="Dollars a day (UTC), such as 12.50; 0 for any.")] = "0",
    days: Days = 0,
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Make a key. Its text is shown once and stored nowhere."""
    from modelyard.app import open_app
    from modelyard.core.money import parse_usd
    from modelyard.ports.limits import Limits
    from modelyard.workflows.keys import create_key

    limits = Limits(requests_per_minute=rpm, tokens_per_minute=tpm, daily_nanousd=parse_usd(daily_usd))
    with open_app(project) as app:
        for name in service or ():
            if name not in app.project.hosted:
                app.named("services", name)
        key, text = create_key(
            app.tools.records, tenant, days=days, scopes=scope or (), services=service or (), limits=limits
        )
    _show_new(key, text, as_json=as_json, more="")


@keys.command()
def rotate(
    id: Annotated[str, typer.Argument(help="The key's id, from `modelyard keys list`.")],
    grace_hours: Annotated[float, typer.Option(min=0, max=8760, help="How long the old text still holds.")] = 24.0,
    days: Annotated[int, typer.Option(min=0, max=36500, help="Days the new one holds; 0: as the old was to.")] = 0,
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Make a new text with the same rights; the old one ends after a while."""
    from modelyard.app import open_app
    from modelyard.workflows.keys import rotate_key

    with open_app(project) as app:
        key, text = rotate_key(app.tools.records, id, grace_hours=grace_hours, days=days)
    _show_new(key, text, as_json=as_json, more=f" Key {id} ends in {grace_hours:g} hours at the latest.")


@keys.command("list")
def list_keys(project: ProjectFile = "", as_json: Json = False) -> None:
    """The keys there are, without their texts."""
    from modelyard.app import open_app

    with open_app(project) as app:
        found = app.tools.records.routes.keys()

    def text() -> None:
        headings = ("id", "tenant", "expires", "may call", "services", "limits", "replaces")
        table(headings, [_line(key) for key in found], empty="No keys yet. Make one: modelyard keys create TENANT")

    emit([_row(key) for key in found], as_json=as_json, text=text)


@keys.command()
def revoke(
    id: Annotated[str, typer.Argument(help="The key's id, from `modelyard keys list`.")],
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Take a key away."""
    from modelyard.app import open_app
    from modelyard.workflows.keys import revoke_key

    with open_app(project) as app:
        revoke_key(app.tools.records, id)
    emit({"revoked": id}, as_json=as_json, text=lambda: say(f"revoked {id}"))


def _show_new(key: "Key", secret: str, *, as_json: bool, more: str) -> None:
    def text() -> None:
        say(secret)
        known = "a running gateway knows it within a second. This text is not shown again."
        say(f"key {key.id} for {key.tenant}; {known}{more}")

    emit({**_row(key), "key": secret}, as_json=as_json, text=text)


def _row(key: "Key") -> dict[str, Any]:
    """A key without its hash, which is nobody's business."""
    return {
        "id": key.id,
        "tenant": key.tenant,
        "expires_ms": key.expires_ms,
        "scopes": list(key.scopes),
        "services": list(key.services),
        "requests_per_minute": key.limits.requests_per_minute,
        "tokens_per_minute": key.limits.tokens_per_minute,
        "daily_nanousd": key.limits.daily_nanousd,
        "replaces": key.replaces,
    }


def _line(key: "Key") -> tuple[str, ...]:
    from modelyard.core.money import format_usd

    limits = {
        "requests/min": key.limits.requests_per_minute,
        "tokens/min": key.limits.tokens_per_minute,
        "a day": key.limits.daily_nanousd and format_usd(key.limits.daily_nanousd),
    }
    return (
        key.id,
        key.tenant,
        when(key.expires_ms) if key.expires_ms else "never",
        ", ".join(key.scopes) or "all",
        ", ".join(key.services) or "all",
        ", ".join(f"{value} {name}" for name, value in limits.items() if value) or "none",
        key.replaces,
    )
