"""`modelyard gateway`: the data plane alone, without anything that trains or stores; a load on it, and its status."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.output import Json, emit, say, table

if TYPE_CHECKING:
    from modelyard.workflows.load import Load, Report

gateway = typer.Typer(
    help="Run the gateway in this process (`modelyard up` runs it together with everything else).",
    invoke_without_command=True,
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(gateway, name="gateway")


@gateway.callback()
def run(
    context: typer.Context,
    table_file: Annotated[str, typer.Option("--table", help="The route table file to serve from.")] = "",
    journal: Annotated[str, typer.Option(help="The folder that interactions are written to.")] = "",
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8700,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that share the address.")] = 1,
    tls_certificate: Annotated[str, typer.Option(help="PEM file with its chain; taken again where it changes.")] = "",
    tls_key: Annotated[str, typer.Option(help="PEM file of the certificate's key.")] = "",
    cors: Annotated[list[str] | None, typer.Option(help="A web page's origin, or *; may be repeated.")] = None,
    redis: Annotated[str, typer.Option(metavar="NAME", help="Environment variable with a Redis's URL.")] = "",
    on_redis_down: Annotated[str, typer.Option(help="local, open or closed.")] = "local",
    log_format: Annotated[str, typer.Option(help="text or json.")] = "text",
    drain_timeout_s: Annotated[float, typer.Option(min=0, help="How long requests may finish on SIGTERM.")] = 30.0,
) -> None:
    """Run the gateway in this process, until SIGTERM; or one of the commands below."""
    if context.invoked_subcommand is not None:
        return
    if not table_file or not journal:
        raise typer.BadParameter("--table and --journal are needed to serve: files that `modelyard up` writes")
    from modelyard.gateway.server import main

    given = {"--table": table_file, "--journal": journal, "--host": host, "--port": port, "--workers": workers}
    given |= {"--tls-certificate": tls_certificate, "--tls-key": tls_key, "--redis": redis}
    given |= {"--on-redis-down": on_redis_down, "--log-format": log_format, "--drain-timeout-s": drain_timeout_s}
    flags = [text for name, value in given.items() if value != "" for text in (name, str(value))]
    raise typer.Exit(main([*flags, *(text for origin in cors or () for text in ("--cors", origin))]))


@gateway.command()
def bench(
    url: Annotated[str, typer.Argument(help="The gateway's address, or that of any server of chat completions.")],
    key: Annotated[str, typer.Option(metavar="NAME", help="Environment variable with the API key.")] = "",
    model: Annotated[str, typer.Option(help="The service; the first that is listed by default.")] = "",
    rate: Annotated[float, typer.Option(min=0.01, help="Requests a second, whatever became of those before.")] = 10.0,
    concurrency: Annotated[int, typer.Option(min=1, help="The most at once; what is due then waits its turn.")] = 64,
    stream: Annotated[bool, typer.Option("--stream", help="Ask for streams.")] = False,
    seconds: Annotated[float, typer.Option(min=0.1)] = 10.0,
    prompt: Annotated[str, typer.Option(help="What is asked.")] = "Say hello in five words.",
    max_tokens: Annotated[int, typer.Option(min=1, help="Of each answer.")] = 64,
    as_json: Json = False,
) -> None:
    """Send requests at a fixed rate and tell how they were answered. Every one of them is served, and may cost money.

    Latencies count from the moment that a request was due.
    """
    from modelyard.core.errors import InvalidInput
    from modelyard.workflows.load import Load

    secret = os.environ.get(key, "") if key else ""
    if key and not secret:
        fix = f"read -s {key} && export {key}, then run this again"
        raise InvalidInput(f"the environment variable {key} is not set", expected="the API key in it", fix=fix)
    load = Load(
        url=url,
        key=secret,
        model=model,
        rate=rate,
        concurrency=concurrency,
        seconds=seconds,
        stream=stream,
        prompt=prompt,
        max_tokens=max_tokens,
    )
    report = _send(load, quiet=as_json)
    emit(report, as_json=as_json, text=lambda: _show_report(report))


@gateway.command()
def status(
    url: Annotated[str, typer.Argument(help="The address of a running gateway.")] = "",
    table_file: Annotated[str, typer.Option("--table", help="Or a route table file.")] = "",
    as_json: Json = False,
) -> None:
    """What is served, in which version, and how its engines are."""
    from pathlib import Path

    from modelyard.cli.gateway_status import status_at, status_in

    if bool(url) == bool(table_file):
        raise typer.BadParameter("give either the address of a running gateway or --table FILE")
    if url:
        found = status_at(url)
        emit(found, as_json=as_json, text=lambda: _show_running(found))
    else:
        read = status_in(Path(table_file))
        emit(read, as_json=as_json, text=lambda: _show_table(read))


def _send(load: "Load", *, quiet: bool) -> "Report":
    import asyncio

    import uvloop

    from modelyard.cli.progress import showing
    from modelyard.workflows.load import run_load

    with showing("Sending", quiet=quiet) as told, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run_load(load, told))


def _show_report(report: "Report") -> None:
    kind = "streams" if report.stream else "answers"
    say(f"{report.answered} of {report.requests} {kind} from {report.model} in {report.wall_s:.1f} s")
    say(f"asked for {report.rate:g} a second, answered {report.answered_per_s:.1f} a second, {report.tokens} tokens")
    rows = {
        "first byte (ms)": report.first_byte_ms,
        "whole (ms)": report.total_ms,
        "tokens a second, each": report.tokens_per_s,
        "gateway's own time (us)": report.overhead_us,
        "sent late by this client (ms)": report.late_ms,
    }
    lines = [(name, *(f"{value:,.1f}" for value in (s.p50, s.p90, s.p99, s.most))) for name, s in rows.items() if s]
    table(("", "p50", "p90", "p99", "most"), lines, empty="No request was sent.")
    bars = _bars(report.histogram_ms)
    for line in bars:
        say(line)
    for code, count in report.errors.items():
        say(f"failed: {count} with {code}")


def _bars(counts: Sequence[tuple[float, int]]) -> list[str]:
    """Whole latencies as a picture: a line for each bound in milliseconds."""
    most = max((count for _, count in counts), default=0)
    return [f"up to {bound:>9,.1f} ms {'#' * -(-40 * count // most)} {count}" for bound, count in counts]


def _show_running(found: dict[str, Any]) -> None:
    say(f"{'ready' if found['ready'] else 'NOT READY'}, route table {found['table_version']}")
    rows = []
    for name, one in found["services"].items():
        replicas = ", ".join(f"{replica} {state}" for replica, state in one["replicas"].items())
        rows.append((name, *(str(one[what]) for what in ("requests", "errors", "in_flight", "waiting")), replicas))
    table(("service", "requests", "errors", "in flight", "waiting", "replicas"), rows, empty="No services.")
    for text, value in found["troubles"].items():
        say(f"{text}: {value:g}")


def _show_table(found: dict[str, Any]) -> None:
    say(f"route table {found['table_version']} of {found['created']}, {found['keys']} keys")
    rows = []
    for name, one in found["services"].items():
        share = "shadow" if one["shadow"] else f"{one['challenger_percent']:g}%"
        challenger = f"{one['challenger']} ({share})" if one["challenger"] else ""
        rows.append((name, one["champion"], challenger, ", ".join(one["variants"])))
    table(("service", "champion", "challenger", "variants"), rows, empty="No services.")
    for kill in found["kills"]:
        say(f"stopped: {kill['kind']} {kill['name']} {kill['reason']}".rstrip())
