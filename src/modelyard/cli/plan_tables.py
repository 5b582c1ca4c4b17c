"""How a dry run looks to a person in a terminal: findings, plan, a coloured sample."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from modelyard.cli.output import say, table
from modelyard.core.money import format_usd

if TYPE_CHECKING:
    from rich.text import Text

    from modelyard.training.plan import Plan
    from modelyard.training.preflight import Finding
    from modelyard.training.sample import SampleRow
    from modelyard.workflows.plans import DryRun


def dry_run_text(tried: "DryRun") -> None:
    """A dry run: what was found, what training would take, what it would learn from."""
    say(f"Preflight on {tried.dataset}")
    table(("", "check", "seen"), [(_mark(one), one.name, one.seen) for one in tried.findings], empty="")
    for finding in tried.findings:
        if not finding.passed:
            say(f"{finding.name}: {finding.fix}")
    say()
    say("The plan")
    table(("", ""), list(_facts(tried.plan)), empty="")
    _print_sample(tried.sample)
    say("All checks passed." if tried.passed else "Training would be refused: mend what is marked NO.")


def _mark(finding: "Finding") -> str:
    return "yes" if finding.passed else "NO" if finding.stops else "warn"


def _facts(plan: "Plan") -> Iterator[tuple[str, str]]:
    share = plan.trainable_parameters / max(1, plan.base_parameters)
    yield "learns", f"{plan.trainable_parameters:,} of {plan.base_parameters:,} parameters ({share:.2%})"
    yield "peak learning rate", f"{plan.learning_rate:g}"
    yield "rows", f"{plan.rows:,} in {plan.sequences:,} sequences, {plan.packing_efficiency:.1%} of them text"
    yield "tokens an epoch", f"{plan.tokens_per_epoch:,}, {plan.learnt_tokens_per_epoch:,} of them learnt"
    yield "steps", f"{plan.steps:,} over about {plan.tokens:,} tokens"
    yield "device", f"{plan.device}, {_bytes(plan.device_memory_bytes)} of memory"
    yield "memory, about", _bytes(plan.memory_bytes)
    for part, num_bytes in plan.memory.items():
        yield f"  {part}", _bytes(num_bytes)
    yield "disk, at most", _bytes(plan.disk_bytes)
    yield "time, about", f"{_duration(plan.seconds)}, from {plan.seconds_from}"
    yield "cost, about", format_usd(round(plan.cost_nanousd, -5))


def _bytes(count: int) -> str:
    return f"{count / 1e9:,.2f} GB" if count >= 1e8 else f"{count / 1e6:,.2f} MB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _print_sample(rows: Iterable["SampleRow"]) -> None:
    from rich.console import Console

    console = Console(soft_wrap=True, highlight=False)
    say("What is trained on: what is learnt is green, or on a pipe between » and «; special tokens are inverted")
    for row in rows:
        say(f"\n{row.example_id}" + (f" ({row.num_left_out:,} tokens left out)" if row.num_left_out else ""))
        console.print(_coloured(row, marked=not console.is_terminal))
    say()


def _coloured(row: "SampleRow", *, marked: bool) -> "Text":
    """A row as coloured text; `marked` puts what is learnt between signs that need no colour."""
    from rich.text import Text

    text, before = Text(), False
    for piece in row.pieces:
        if marked and piece.learnt != before:
            text.append("»" if piece.learnt else "«")
        before = piece.learnt
        style = "green" if piece.learnt else "dim"
        text.append(piece.text, f"{style} reverse" if piece.special else style)
    if marked and before:
        text.append("«")
    return text
