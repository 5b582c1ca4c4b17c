"""`modelyard up`: everything that serves, in one terminal."""

import sys
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
    from modelyard.serving import held, serve

    # While starting, both end everything at once; later they ask it to end well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with open_app(project) as app, held(app.places):
        with showing("Starting", quiet=as_json) as progress:
            running = serve(app, gateway_port=None if port < 0 else port, engine_url=engine_url, progress=progress)
        with running:
            launched = running.launched()
            stop = threading.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: stop.set())
            if as_json:
                print_json(running.addresses())
                sys.stdout.flush()
            else:
                _print_welcome(running.gateway_url, launched, list(app.project.services))
            running.wait(stop)
            note("stopping ...")
    note("stopped")


def _print_welcome(url: str, launched: list[str], services: list[str]) -> None:
    if waiting := [name for name in services if name not in launched]:
        say(f"Not launched yet: {', '.join(waiting)}. From data to traffic, in another terminal:")
        say(f"  modelyard tune {waiting[0]}                      make a release and gate it")
        say(f"  modelyard rollout start {waiting[0]} RELEASE     give it the callers")
    if not launched:
        say(f"The gateway answers at {url}/v1, for no service so far.")
        say("Stop with Ctrl-C.")
        return
    say(f"The gateway answers at {url}/v1 for: {', '.join(launched)}")
    say("A key:   modelyard keys create ME")
    say(f"""Ask it:  curl {url}/v1/chat/completions -H "Authorization: Bearer $KEY" \\""")
    say("""           -H 'Content-Type: application/json' \\""")
    body = f'{{"model": "{launched[0]}", "messages": [{{"role": "user", "content": "Where is my parcel?"}}]}}'
    say(f"           -d '{body}'")
    say("Stop with Ctrl-C.")
