"""`modelyard alarm`: let a tenant's traffic through again that its spend alarm has stopped."""

from typing import Annotated

import typer

from modelyard.cli.output import Json, ProjectFile, emit, say

_File = Annotated[
    str, typer.Option("--file", metavar="FILE", help="The gateway's kills.json, beside its route table, if elsewhere.")
]
_Redis = Annotated[
    str,
    typer.Option("--redis", metavar="NAME", help="Variable with the URL of a Redis whose gateways are told too."),
]

alarm = typer.Typer(help="The spend alarms of tenants.", no_args_is_help=True)


@alarm.callback()
def about() -> None:
    """Keeps `lift` a command of its own while it is the only one."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(alarm, name="alarm")


@alarm.command()
def lift(
    tenant: Annotated[str, typer.Argument(help="The tenant.")],
    file: _File = "",
    redis: _Redis = "",
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Let a stopped tenant's traffic through; its spending is counted anew from now on."""
    from modelyard.cli.kill import locked, path_of, read_file, tell_redis
    from modelyard.core.clock import now_ms
    from modelyard.core.errors import InvalidInput
    from modelyard.core.files import write_atomically
    from modelyard.ports.kills import Lift, encode_kills
    from modelyard.settings import Settings

    if not tenant.strip():
        raise InvalidInput("no tenant is named", expected="its name", fix="modelyard alarm lift TENANT")
    made = Lift(tenant=tenant, by=Settings.from_environment().user, at_ms=now_ms())
    path = path_of(file, project)
    with locked(path):
        found = read_file(path)
        others = tuple(one for one in found.lifts if one.tenant != tenant)
        write_atomically(path, encode_kills(found.kills, (*others, made)))
    if redis:
        tell_redis(redis, "lift", tenant, made)
    told = f"running gateways let {tenant} through within a second, and count its spending anew"
    emit(made, as_json=as_json, text=lambda: say(told))
