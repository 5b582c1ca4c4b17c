"""A line that moves while a person waits; on a pipe, a line a stage; with `--json`, silence."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from modelyard.workflows.tools import Progress, silent


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
        yield silent
        print(f"{title}: done in {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)


@contextmanager
def _bar(title: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(title, total=None, note="")

        def progress(done: float, total: float, note: str = "") -> None:
            bars.update(task, completed=done, total=total or None, note=note)

        yield progress
