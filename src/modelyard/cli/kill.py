"""`modelyard kill`: stop a key, a tenant, a service or everything at once, whatever else is down."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.output import Json, ProjectFile, emit, say, table, when

if TYPE_CHECKING:
    from modelyard.ports.kills import Kill, KillFile, KillKind, Lift

_LOCK_ATTEMPTS = 40
_LOCK_WAIT_S = 0.05
_KINDS = ("key", "tenant", "service", "all")
_Name = Annotated[str, typer.Argument(help="The key's id, the tenant or the service; nothing for `all`.")]
_Reason = Annotated[str, typer.Option(help="Why; it is kept with the kill.")]
_Minutes = Annotated[int, typer.Option("--for", min=0, max=525600, help="Minutes; 0: until it is lifted.")]
_File = Annotated[
    str, typer.Option("--file", metavar="FILE", help="The gateway's kills.json, beside its route table, if elsewhere.")
]
_Redis = Annotated[
    str,
    typer.Option("--redis", metavar="NAME", help="Variable with the URL of a Redis whose gateways are told too."),
]

kill = typer.Typer(
    help="The kill switch: stops a key, a tenant, a service or everything, streams in flight too, within a second.",
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(kill, name="kill")


@kill.command("key")
def kill_key(
    id: Annotated[str, typer.Argument(help="The key's id, from `modelyard keys list`.")],
    reason: _Reason = "",
    minutes: _Minutes = 0,
    file: _File = "",
    redis: _Redis = "",
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Stop an API key."""
    _stop("key", id, reason, minutes, path_of(file, project), redis, as_json)


@kill.command("tenant")
def kill_tenant(
    name: Annotated[str, typer.Argument(help="The tenant.")],
    reason: _Reason = "",
    minutes: _Minutes = 0,
    file: _File = "",
    redis: _Redis = "",
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Stop a tenant with all its keys."""
    _stop("tenant", name, reason, minutes, path_of(file, project), redis, as_json)


@kill.command("service")
def kill_service(
    name: Annotated[str, typer.Argument(help="The service.")],
    reason: _Reason = "",
    minutes: _Minutes = 0,
    file: _File = "",
    redis: _Redis = "",
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Stop a service for everybody."""
    _stop("service", name, reason, minutes, path_of(file, project), redis, as_json)


@kill.command("all")
def kill_all(
    reason: _Reason = "",
    minutes: _Minutes = 0,
    file: _File = "",
    redis: _Redis = "",
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Stop everything behind the gateway."""
    _stop("all", "", reason, minutes, path_of(file, project), redis, as_json)


@kill.command()
def lift(
    kind: Annotated[str, typer.Argument(help="key, tenant, service or all.")],
    name: _Name = "",
    file: _File = "",
    redis: _Redis = "",
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Let what was stopped go on."""
    from modelyard.core.errors import InvalidInput, NotFound

    if kind not in _KINDS:
        raise InvalidInput(f"'{kind}' cannot be lifted", expected=", ".join(_KINDS), fix="name what was stopped")
    path = path_of(file, project)
    with locked(path):
        kills = _read(path)
        left = tuple(one for one in kills if (one.kind, one.name) != (kind, name))
        was_there = bool(redis) and tell_redis(redis, kind, name, None)
        if left == kills and not was_there:
            raise NotFound(f"{kind} {name}".strip() + " is not stopped", fix="modelyard kill list shows what is")
        _write(path, left)
    emit({"lifted": {"kind": kind, "name": name}}, as_json=as_json, text=lambda: say(f"lifted {kind} {name}".strip()))


@kill.command("list")
def list_kills(file: _File = "", project: ProjectFile = "", as_json: Json = False) -> None:
    """What is stopped, by whom, why and until when."""
    kills = _read(path_of(file, project))

    def text() -> None:
        lines = [
            (one.kind, one.name, one.reason, one.by, when(one.at_ms), when(one.until_ms) if one.until_ms else "lifted")
            for one in kills
        ]
        table(("what", "name", "reason", "by", "since", "until"), lines, empty="Nothing is stopped.")

    emit(kills, as_json=as_json, text=text)


def _stop(kind: "KillKind", name: str, reason: str, minutes: int, path: Path, redis: str, as_json: bool) -> None:
    from modelyard.core.clock import now_ms
    from modelyard.core.errors import InvalidInput
    from modelyard.ports.kills import Kill
    from modelyard.settings import Settings

    if kind != "all" and not name.strip():
        raise InvalidInput(f"no {kind} is named", expected="its name", fix="modelyard kill all stops everything")
    now = now_ms()
    until = now + minutes * 60_000 if minutes else 0
    made = Kill(kind=kind, name=name, reason=reason, by=Settings.from_environment().user, at_ms=now, until_ms=until)
    with locked(path):
        others = tuple(one for one in _read(path, anew=kind == "all") if (one.kind, one.name) != (kind, name))
        _write(path, (*others, made))
    if redis:
        tell_redis(redis, kind, name, made)
    named = f"{kind} {name}".strip()
    told = f"stopped {named}; a running gateway knows it within a second. `modelyard kill lift {named}` lets it go on."
    emit(made, as_json=as_json, text=lambda: say(told))


def path_of(file: str, project: str) -> Path:
    """The file, found without reading the project file or opening a store: both may be what is broken."""
    from modelyard.ports.kills import FILE_NAME
    from modelyard.settings import Settings

    if file:
        return Path(file)
    settings = Settings.from_environment()
    if settings.state:
        return Path(settings.state) / FILE_NAME
    from modelyard.app import find_project

    return find_project(project, settings).parent / ".modelyard" / FILE_NAME


def _read(path: Path, *, anew: bool = False) -> tuple["Kill", ...]:
    """What is stopped."""
    return read_file(path, anew=anew).kills


def read_file(path: Path, *, anew: bool = False) -> "KillFile":
    """The whole file. `anew` begins with nothing where the file is broken: for what makes all else idle."""
    from modelyard.core.errors import Corrupt
    from modelyard.ports.kills import KillFile, decode_kills

    try:
        return decode_kills(path.read_bytes())
    except FileNotFoundError:
        return KillFile(())
    except Corrupt:
        if anew:
            return KillFile(())
        raise


def _write(path: Path, kills: tuple["Kill", ...]) -> None:
    from modelyard.core.files import write_atomically
    from modelyard.ports.kills import encode_kills

    write_atomically(path, encode_kills(kills, read_file(path, anew=True).lifts))


def tell_redis(variable: str, kind: str, name: str, what: "Kill | Lift | None") -> bool:
    """Write into the hash that gateways read twice a second, or (None) take out of it; whether that changed it.

    Raises: InvalidInput, MissingExtra, Unavailable.
    """
    import os

    import msgspec

    from modelyard.core.errors import InvalidInput, MissingExtra, Unavailable
    from modelyard.ports.kills import REDIS_KEY, field_of

    if not (url := os.environ.get(variable, "")):
        seen = f"the environment variable {variable} is not set"
        raise InvalidInput(seen, expected="the URL of a Redis", fix="set it, or leave --redis out")
    try:
        import redis
    except ImportError as error:
        raise MissingExtra("redis", "redis") from error
    try:
        with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as client:
            field = field_of(kind, name)
            if what is None:
                return bool(client.hdel(REDIS_KEY, field))
            return bool(client.hset(REDIS_KEY, field, msgspec.json.encode(what)))
    except redis.RedisError as error:
        seen = f"the Redis in {variable} does not answer ({type(error).__name__})"
        raise Unavailable(f"{seen}; the file is written", fix="start Redis, then give the command again") from None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One command at a time writes; another waits for it. Raises: Conflict after two seconds."""
    from modelyard.core.errors import Conflict
    from modelyard.core.locks import hold

    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for attempt in range(_LOCK_ATTEMPTS):
            try:
                stack.enter_context(hold(path.with_name("kills.lock"), f"{path} is being written"))
                break
            except Conflict:
                if attempt + 1 == _LOCK_ATTEMPTS:
                    raise
                time.sleep(_LOCK_WAIT_S)
        yield
