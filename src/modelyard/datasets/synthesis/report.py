"""What a synthesis tells: requests, tokens, cost, and what became of every answer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.clock import iso, now_ms
from modelyard.core.errors import DataInvalid
from modelyard.core.files import write_atomically, write_json_atomically
from modelyard.core.money import format_usd
from modelyard.datasets.ledger import StepCount
from modelyard.datasets.synthesis.config import SynthesisConfig
from modelyard.datasets.synthesis.log import Account, counted
from modelyard.datasets.synthesis.making import Made


class Requests(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests there were: wanted in all, answered before this time, answered now, and left unasked."""

    wanted: int
    from_log: int
    asked: int
    left: int


class Files:
    """The files of a synthesis, in a folder beside the project file."""

    def __init__(self, root: Path, name: str) -> None:
        folder = root / "synthetic"
        self.rows = folder / f"{name}.jsonl"
        self.report = folder / f"{name}.report.json"
        self.answers = folder / f"{name}.answers.jsonl"
        self.lock = folder / f".{name}.lock"


def build_report(
    name: str, config: SynthesisConfig, before: Sequence[StepCount], made: Made, account: Account, requests: Requests
) -> dict[str, Any]:
    """The content of the report. Tokens and cost are those of the whole log; money is in whole nano-dollars."""
    return {
        "synthesis": name,
        "config": config.digest,
        "url": config.url,
        "model": config.model,
        "at": iso(now_ms()),
        "is_complete": not requests.left,
        "rows": len(made.rows),
        "requests": msgspec.to_builtins(requests),
        "answers": len(account.answers),
        "tokens": dict(counted(account.answers)),
        "price": config.price.model_dump(mode="json"),
        "cost_nanousd": account.cost_nanousd,
        "unanswered_nanousd": account.unanswered_nanousd,
        "max_cost": config.max_cost,
        "steps": [count.as_dict() for count in (*before, *made.counts)],
    }


def write_out(files: Files, made: Made, report: dict[str, Any]) -> None:
    """Write the rows, then the report, each whole. Raises: DataInvalid where no row is left; the report is there."""
    write_atomically(files.rows, b"".join(msgspec.json.encode(row) + b"\n" for row in made.rows))
    write_json_atomically(files.report, report)
    if not made.rows:
        raise _none_left(files, made)


def cost_text(report: dict[str, Any]) -> str:
    """What it cost, for people."""
    text = format_usd(report["cost_nanousd"])
    if report["unanswered_nanousd"]:
        text += f", and at most {format_usd(report['unanswered_nanousd'])} for attempts without an answer"
    return text


def _none_left(files: Files, made: Made) -> DataInvalid:
    worst = max(made.counts, key=lambda count: count.dropped)
    if not worst.examples:
        return DataInvalid("no row is left: nothing was answered", fix="raise `max_cost`")
    first = worst.examples[0]
    return DataInvalid(
        f"no row is left: the step '{worst.step}' dropped {worst.dropped:,} of {worst.rows_in:,}"
        f" ({first['reason']}: {first['raw'][:80]!r})",
        fix=f"loosen `filters`, change `prompts` or raise `max_tokens`; more examples: {files.report}."
        " With the same requests, the answers are not paid for again",
    )
