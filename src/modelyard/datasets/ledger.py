"""The ledger of a preparation: how many rows each step took, kept, changed and rejected, and the quarantine.

Every rejected row lands in the quarantine file with its place, step, reason and text: nothing disappears.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from modelyard.core.digests import canonical_json
from modelyard.core.errors import DataInvalid
from modelyard.datasets.outcome import Rejection, cause
from modelyard.datasets.personal_data import mask_raw

_MAX_EXAMPLES = 10
_EXAMPLE_CHARS = 160


class StepCount(msgspec.Struct, kw_only=True):
    """What one step did so far. `causes` counts the rejected rows, `findings` what the step counted besides."""

    step: str
    rows_in: int = 0
    rows_out: int = 0
    changed: int = 0
    causes: Counter[str] = msgspec.field(default_factory=Counter)
    examples: list[dict[str, Any]] = msgspec.field(default_factory=list)
    findings: Counter[str] = msgspec.field(default_factory=Counter)

    @property
    def dropped(self) -> int:
        """Rows that went no further."""
        return self.rows_in - self.rows_out

    def as_dict(self) -> dict[str, Any]:
        """The count as it stands in the report and in the dataset's record."""
        return {
            "step": self.step,
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "dropped": self.dropped,
            "changed": self.changed,
            "causes": dict(sorted(self.causes.items())),
            "examples": self.examples,
        }


class Ledger:
    """The counts of every step in order, and the open quarantine file. Use as a context manager."""

    def __init__(self, steps: Sequence[str], quarantine: Path) -> None:
        self._counts = {step: StepCount(step=step) for step in steps}
        self._file = quarantine.open("wb")

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def record(
        self,
        step: str,
        *,
        rows_in: int,
        rows_out: int,
        rejected: Sequence[Rejection],
        changed: int = 0,
        findings: Mapping[str, int] | None = None,
    ) -> None:
        """Add what a step did with some rows."""
        count = self._counts[step]
        for rejection in rejected:
            self._reject(count, rejection)
        if rows_in != rows_out + len(rejected):
            raise AssertionError(f"step {step} lost rows: {rows_in} in, {rows_out} kept, {len(rejected)} rejected")
        count.rows_in += rows_in
        count.rows_out += rows_out
        count.changed += changed
        count.findings.update(findings or {})

    @property
    def rows_read(self) -> int:
        """Rows of the raw files, readable or not."""
        return next(iter(self._counts.values())).rows_in

    def count(self, step: str) -> StepCount:
        """What a step did."""
        return self._counts[step]

    def as_dicts(self) -> tuple[dict[str, Any], ...]:
        """Every step's count, in order."""
        return tuple(count.as_dict() for count in self._counts.values())

    def nothing_left(self, seen: str, fix: str = "") -> DataInvalid:
        """The error for a result that cannot be used: it names the step that dropped most, and why."""
        worst = max(self._counts.values(), key=lambda count: count.dropped)
        if not worst.dropped:
            return DataInvalid(seen, fix=fix)
        reason, rows = worst.causes.most_common(1)[0]
        example = worst.examples[0]
        seen = f"{seen}; the step '{worst.step}' dropped {worst.dropped} of {self.rows_read}, {rows} for '{reason}'"
        return DataInvalid(
            f"{seen} (line {example['line']}: {example['reason']})", fix=fix or _FIXES.get(worst.step, "add rows")
        )

    def _reject(self, count: StepCount, rejection: Rejection) -> None:
        place = {"source": rejection.source, "line": rejection.line}
        # A reason may quote the row (a field, an id), so it is masked as the row is.
        reason, raw = mask_raw(rejection.reason), mask_raw(rejection.raw)
        count.causes[cause(reason)] += 1
        if len(count.examples) < _MAX_EXAMPLES:
            count.examples.append({**place, "reason": reason, "raw": raw[:_EXAMPLE_CHARS]})
        self._file.write(canonical_json({**place, "step": count.step, "reason": reason, "raw": raw}) + b"\n")


_FIXES = {
    "reading": "mend the lines; each needs one JSON object, or the cells that the CSV header names",
    "mapping": "name fields that the rows have in `prompt`, `answer` and `id` of the dataset",
    "length": "widen `min_chars` and `max_chars` of the dataset, or mend the rows",
    "personal_data": "set `personal_data: mask` to keep such rows without the data",
    "exact_duplicates": "add rows that differ from one another",
    "conflicts": "correct the answers of prompts that have several",
    "near_duplicates": "raise `near_duplicates` of the dataset towards 1, or set it to null",
}
