"""`modelyard keys`: who may call the gateway."""

from typing import Annotated

import typer

from modelyard.cli.output import Json, ProjectFile, emit, print_json, say, table, when

keys = typer.Typer(help="API keys of the gateway.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(keys, name="keys")


@keys.command()
def create(
    tenant: Annotated[str, typer.Argument(help="Who the key is for.")],
    days: Annotated[int, typer.Option(min=0, max=36500, help="Days until it expires; 0 for never.")] = 0,
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Make a key. Its text is shown once and stored nowhere."""
    from modelyard.app import open_app
    from modelyard.workflows.keys import create_key

    with open_app(project) as app:
        key, text = create_key(app.tools.records, tenant, days=days)
    if as_json:
        print_json({"id": key.id, "tenant": key.tenant, "expires_ms": key.expires_ms, "key": text})
        return
    say(text)
    say(f"key {key.id} for {tenant}; a running gateway knows it within a second. This text is not shown again.")


@keys.command("list")
def list_keys(project: ProjectFile = "", as_json: Json = False) -> None:
    """The keys there are, without their texts."""
    from modelyard.app import open_app

    with open_app(project) as app:
        found = app.tools.records.routes.keys()
    rows = [{"id": key.id, "tenant": key.tenant, "expires_ms": key.expires_ms} for key in found]

    def text() -> None:
        lines = [(key.id, key.tenant, when(key.expires_ms) if key.expires_ms else "never") for key in found]
        table(("id", "tenant", "expires"), lines, empty="No keys yet. Make one: modelyard keys create TENANT")

    emit(rows, as_json=as_json, text=text)


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
