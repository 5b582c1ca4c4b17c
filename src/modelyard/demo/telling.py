"""What the demonstration tells while it runs: a line a stage, a moving one while it works, the numbers after it."""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from modelyard.app import DEMO_PROJECT
from modelyard.core.clock import monotonic_s
from modelyard.workflows.tools import Progress, silent

Facts = dict[str, Any]


# The facts of a stage, and whether an earlier run had found them.
Work = Callable[[Progress], tuple[Facts, bool]]


class Teller(Protocol):
    """Hears of each stage: runs its work under a progress display, and tells its outcome."""

    def stage(self, name: str, title: str, work: Work) -> Facts: ...


class Quiet:
    """Tells nothing, for `--json`."""

    def stage(self, name: str, title: str, work: Work) -> Facts:
        """Run the work."""
        return work(silent)[0]


class Terminal:
    """Tells a person at a terminal, or a log where there is none."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)
        self._number = 0

    def stage(self, name: str, title: str, work: Work) -> Facts:
        """Run the work under a moving line; then say what came of it."""
        self._number += 1
        began_s = monotonic_s()
        with self._moving(title) as progress:
            facts, known = work(progress)
        took = "done before" if known else f"{monotonic_s() - began_s:.1f} s"
        self._console.print(f"[bold]{self._number:>2}  {title}[/bold]  [dim]{took}[/dim]")
        for line in tell(name, facts):
            self._console.print(f"    {line}", markup=False, soft_wrap=True)
        return facts

    @contextmanager
    def _moving(self, title: str) -> Iterator[Progress]:
        if not self._console.is_terminal:
            yield silent
            return
        with self._console.status(title) as status:

            def progress(done: float, total: float, note: str = "") -> None:
                share = f" {done / total:.0%}" if total else ""
                status.update(f"{title}{share}  {note}")

            yield progress


def tell(name: str, facts: Facts) -> list[str]:
    """The outcome of a stage in words."""
    return _WORDS[name.split("_")[0]](facts)


def _prepare(facts: Facts) -> list[str]:
    rows = facts["rows"]
    dropped = {step["step"]: step["dropped"] for step in facts["steps"] if step["dropped"]}
    masked = next((step["changed"] for step in facts["steps"] if step["step"] == "personal_data"), 0)
    return [
        f"{facts['steps'][0]['rows_in']:,} lines in; " + ", ".join(f"{n:,} {split}" for split, n in rows.items()),
        "dropped: " + ", ".join(f"{count} {step.replace('_', ' ')}" for step, count in dropped.items()),
        f"personal data masked in {masked} rows; every dropped line is in quarantine with its reason",
    ]


def _train(facts: Facts) -> list[str]:
    metrics = facts["metrics"]
    return [
        f"{facts['ref']}: {facts['seconds']:.1f} s of training on {metrics['train_rows']:,.0f} rows, "
        f"loss {metrics['train_loss']:.3f}"
    ]


def _base(facts: Facts) -> list[str]:
    return [f"exact match {_share(facts['exact_match'])}; always the commonest answer: "
            f"{facts['majority_exact_match']['value']:.1%}"]  # fmt: skip


def _gate(facts: Facts) -> list[str]:
    lines = [f"exact match {_share(facts['exact_match'])}: {'passed' if facts['passed'] else 'BLOCKED'}"]
    return lines + [f"{name}: {seen}, demanded {demanded}" for ok, name, seen, demanded in facts["checks"] if not ok]


def _launch(facts: Facts) -> list[str]:
    return [_calls(facts)]


def _promote(facts: Facts) -> list[str]:
    told = [event for event in facts["events"] if event["kind"] not in ("started", "held")]
    lines = [f"{event['kind'].replace('_', ' ')}: {event['reason']}" for event in told]
    return [*lines, f"{_calls(facts)}, in {facts['seconds']:.1f} s"]


def _blocked(facts: Facts) -> list[str]:
    return [facts["reason"] if facts["refused"] else "it was not refused"]


def _rollback(facts: Facts) -> list[str]:
    return [
        *_promote(facts),
        f"it had traffic for {facts['exposed_seconds']:.1f} s and gave {facts['exposed_requests']} answers",
    ]


def _calls(facts: Facts) -> str:
    return f"{facts['answers']:,} answers, {facts['right']:.1%} right, {facts['failed_requests']} failed requests"


def _share(metric: Facts) -> str:
    return f"{metric['value']:.1%} ({metric['low']:.1%} to {metric['high']:.1%}, {metric['num_rows']} rows)"


_WORDS: dict[str, Callable[[Facts], list[str]]] = {
    "prepare": _prepare,
    "train": _train,
    "base": _base,
    "gate": _gate,
    "launch": _launch,
    "promote": _promote,
    "blocked": _blocked,
    "rollback": _rollback,
}


def tell_start(folder: Path, *, goes_on: bool) -> None:
    """Where it works, and that it may be interrupted."""
    from rich.console import Console

    what = "Going on with the demonstration in" if goes_on else "The whole loop, in a project of its own:"
    console = Console(highlight=False)
    console.print(f"{what} {_near(folder)}", markup=False, soft_wrap=True)
    console.print("Ctrl-C interrupts it; the same command goes on.\n", markup=False, soft_wrap=True)


def _command(name: str) -> str:
    """A command as it can be typed here: by its name, or by its path where the environment is not active."""
    if shutil.which(name):
        return name
    return str(_near(Path(sys.executable).parent / name))


def _near(folder: Path) -> Path:
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def tell_end(report: Facts, folder: Path) -> None:
    """The figures that matter, and where to look next."""
    from rich.console import Console

    console = Console(highlight=False)
    console.print()
    for line in (
        f"exact match   {report['base_exact_match']:.1%} untuned, {report['adapter_exact_match']:.1%} with the adapter "
        f"({report['train_seconds']:.0f} s of training)",
        f"bad release   {'blocked by the gate' if report['bad_release_blocked'] else 'NOT blocked'}; forced on canary, "
        f"{'rolled back' if report['rolled_back'] else 'NOT rolled back'} after {report['rollback_seconds']:.1f} s and "
        f"{report['rollback_requests']} answers",
        f"traffic       {report['answers']:,} answers, {report['failed_requests']} failed requests",
    ):
        console.print(line, markup=False, soft_wrap=True)
    near = _near(folder)
    project = f" --project {near}" if near.as_posix() != DEMO_PROJECT.parent.as_posix() else ""
    console.print("\nLook next:", style="bold")
    for what, how in (
        ("the report", f"{near}/report.html"),
        ("one answer, back to its raw file", f"{_command('modelyard')} lineage {report['answer_id']}{project}"),
        ("its releases", f"{_command('modelyard')} release list{project}"),
        ("its training curves", f"{_command('mlflow')} ui --backend-store-uri sqlite:///{near}/.modelyard/mlflow.db"),
        ("keep it running", f"{_command('modelyard')} up{project}"),
    ):
        console.print(f"  {what:<34}{how}", markup=False, soft_wrap=True)
