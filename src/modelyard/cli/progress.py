"""A line that moves while a person waits; on a pipe, a line a stage and twice a minute; with `--json`, silence."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from modelyard.workflows.tools import Progress, silent

_LINE_EVERY_S = 30.0
_WIDE = 150


@contextmanager
def showing(title: str, *, quiet: bool = False) -> Iterator[Progress]:
    """Show how far a piece of work is, on standard error."""
    if quiet:
        yield silent
    elif sys.stderr.isatty():
        with _bar(title) as progress:
            yield progress
    else:
        began = time.monotonic()
        print(f"{title} ...", file=sys.stderr, flush=True)
        yield _lines(title)
        print(f"{title}: done in {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)


def _lines(title: str) -> Progress:
    """How far it is, at most twice a minute."""
    told = time.monotonic()

    def progress(done: float, total: float, note: str = "") -> None:
        nonlocal told
        if time.monotonic() - told >= _LINE_EVERY_S:
            told = time.monotonic()
            print(", ".join(filter(None, (f"{title}: {done:,.0f} of {total:,.0f}", note))), file=sys.stderr, flush=True)

    return progress


@contextmanager
def _bar(title: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    # A long note beside the bar would be cut off: it gets a line of its own.
    note_below = "\n{task.fields[note]}" if console.width < _WIDE else ""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}" + note_below),
        BarColumn(bar_width=24),
        TextColumn("" if note_below else "{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(title, total=None, note="")

        def progress(done: float, total: float, note: str = "") -> None:
            bars.update(task, completed=done, total=total or None, note=note)

        yield progress
