"""`modelyard up`: everything that serves, in one terminal."""

from typing import Annotated

import typer

from modelyard.cli.output import Json, ProjectFile, note, print_json, say


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(up)


def up(
    port: Annotated[int, typer.Option(min=-1, max=65535, help="Of the gateway; 0 for any free one.")] = -1,
    engine_url: Annotated[str, typer.Option(help="A running vLLM to use instead of the built-in engine.")] = "",
    project: ProjectFile = "",
    as_json: Json = False,
) -> None:
    """Run the engine, the gateway and the control loop until Ctrl-C.

    With --json one document with the addresses is printed as soon as they answer.
    """
    import signal
    import threading

    from modelyard.app import open_app
    from modelyard.cli.progress import showing
    from modelyard.serving import serve

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with open_app(project) as app:
        with showing("Starting", quiet=as_json) as progress:
            running = serve(app, gateway_port=None if port < 0 else port, engine_url=engine_url, progress=progress)
        with running:
            if as_json:
                print_json(running.addresses())
            else:
                _print_welcome(running.gateway_url, list(app.project.services))
            running.wait(stop)
    note("stopped")


def _print_welcome(url: str, services: list[str]) -> None:
    say(f"The gateway answers at {url}/v1 for: {', '.join(services)}")
    say("A key:   modelyard keys create ME")
    say(f"""Ask it:  curl {url}/v1/chat/completions -H "Authorization: Bearer $KEY" \\""")
    say("""           -H 'Content-Type: application/json' \\""")
    model = services[0] if services else "SERVICE"
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "Where is my parcel?"}}]}}'
    say(f"           -d '{body}'")
    say("Stop with Ctrl-C.")
