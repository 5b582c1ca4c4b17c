"""How commands speak: one JSON document with `--json`, tables and lines for people without."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

import typer

from modelyard.core.clock import iso
from modelyard.core.errors import ModelyardError

_PIPE_WIDTH = 160
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")]
ProjectFile = Annotated[
    str, typer.Option("--project", "-p", metavar="FILE", help="The project file (modelyard.yaml, found upwards).")
]


def emit(value: Any, *, as_json: bool, text: Callable[[], None]) -> None:
    """Print a value: as JSON, or in words by calling `text`."""
    if as_json:
        print_json(value)
    else:
        text()


def print_json(value: Any) -> None:
    """One JSON document on standard output. msgspec structs are welcome at any depth."""
    import msgspec

    json.dump(msgspec.to_builtins(value), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def say(line: str = "") -> None:
    """A line for people, on standard output."""
    typer.echo(line)


def note(line: str) -> None:
    """A line beside the result, on standard error, so that pipes stay clean."""
    typer.echo(line, err=True)


def when(milliseconds: int) -> str:
    """A moment for people, in UTC to the second."""
    return iso(milliseconds)[:19].replace("T", " ")


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """A table for people, or one line that says why there is none."""
    lines = list(rows)
    if not lines:
        say(empty)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, heading in enumerate(headings):
        # The first column is what one copies into the next command.
        grid.add_column(heading, overflow="fold", no_wrap=number == 0)
    for line in lines:
        grid.add_row(*line)
    # A pipe has no width to heed, and a reader behind it wants whole lines.
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(grid)


def report_error(error: ModelyardError, *, as_json: bool) -> None:
    """Print an error where it belongs: JSON on standard output when it was asked for, words on standard error."""
    if as_json:
        print_json({"error": error.as_dict()})
        return
    seen, *more = str(error).splitlines()
    note(f"error: {seen}")
    for line in more:
        note(f"  {line}")
