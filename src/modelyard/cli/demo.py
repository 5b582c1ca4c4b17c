"""`modelyard demo`: the whole loop in one command."""

from typing import Annotated

import typer

from modelyard.cli.interruption import leaving_at_once
from modelyard.cli.output import Json, print_json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    data: Annotated[str, typer.Option(help="Your own JSONL or CSV file instead of the shipped messages.")] = "",
    prompt: Annotated[str, typer.Option(help="With --data: the question, made of a row's fields.")] = "{text}",
    answer: Annotated[str, typer.Option(help="With --data: the answer, made of a row's fields.")] = "{label}",
    steps: Annotated[int, typer.Option(min=0, help="With --data: training steps of the better release.")] = 0,
    folder: Annotated[str, typer.Option(help="Where the demonstration's project lives.")] = ".modelyard/demo",
    port: Annotated[int, typer.Option(min=-1, max=65535, help="Of the gateway; 0 for any free one.")] = -1,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew instead of going on.")] = False,
    as_json: Json = False,
) -> None:
    """Raw data to a fine-tuned model on canary, and back again when it fails. Takes a few minutes on two cores.

    Interrupted, it goes on where it was; finished, it begins anew.
    """
    from pathlib import Path

    from modelyard.demo.running import Wish, run_demo

    wish = Wish(data=data, prompt=prompt, answer=answer, steps=steps)
    with leaving_at_once():
        report = run_demo(Path(folder), wish, port=None if port < 0 else port, fresh=fresh, quiet=as_json)
    if as_json:
        print_json(report)
