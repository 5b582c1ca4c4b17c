"""The ledger of a preparation: how many rows each step took, kept, changed and rejected; and the quarantine.

Every rejected row lands in the quarantine file with its place, step, reason and text: nothing disappears. Workers count
block by block, and the counts are added up in the order of the blocks, so that they are the same however many worked.
Personal data is masked in all that is kept of a rejected row, whatever the dataset does with its own.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from modelyard.core.errors import DataInvalid
from modelyard.datasets.collection.reasons import COLLECTING
from modelyard.datasets.outcome import Rejection, cause
from modelyard.datasets.personal.masking import mask_raw

MAX_EXAMPLES = 10
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

    def add(
        self,
        *,
        rows_out: int,
        rejected: Sequence[Rejection] = (),
        changed: int = 0,
        findings: Mapping[str, int] | None = None,
        is_masked: bool = False,
    ) -> None:
        """Add what the step did with some rows: `rows_out` of them went on, `rejected` did not.

        `is_masked` says that no personal data is left in `rejected`, so that it is not looked for again.
        """
        self.rows_in += rows_out + len(rejected)
        self.rows_out += rows_out
        self.changed += changed
        self.findings.update(findings or {})
        for reason, rows in Counter(cause(rejection.reason) for rejection in rejected).items():
            self.causes[mask_raw(reason)] += rows
        for rejection in rejected[: MAX_EXAMPLES - len(self.examples)]:
            self.examples.append(example(rejection, is_masked=is_masked))

    def merge(self, other: "StepCount") -> None:
        """Add what the step did with the rows that come behind."""
        self.rows_in += other.rows_in
        self.rows_out += other.rows_out
        self.changed += other.changed
        self.causes.update(other.causes)
        self.findings.update(other.findings)
        self.examples += other.examples[: MAX_EXAMPLES - len(self.examples)]

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
            "findings": dict(sorted(self.findings.items())),
        }


class Ledger:
    """The counts of every step, in their order."""

    def __init__(self, steps: Sequence[str]) -> None:
        self._counts = {step: StepCount(step=step) for step in steps}

    def merge(self, counts: Iterable[StepCount]) -> None:
        """Add the counts of a block, or of a step over all rows."""
        for count in counts:
            self._counts[count.step].merge(count)

    @property
    def rows_read(self) -> int:
        """Rows of the raw files, readable or not."""
        return self.count("reading").rows_in

    def count(self, step: str) -> StepCount:
        """What a step did; nothing where it was not asked for."""
        return self._counts.get(step) or StepCount(step=step)

    def as_dicts(self) -> tuple[dict[str, Any], ...]:
        """Every step's count, in order."""
        return tuple(count.as_dict() for count in self._counts.values())

    def check(self) -> None:
        """See that no row was lost: neither within a step nor between two."""
        counts = list(self._counts.values())
        for count in counts:
            if count.dropped != count.causes.total():
                raise AssertionError(f"'{count.step}' lost {count.dropped} rows and has {count.causes.total()} reasons")
        for before, after in pairwise(counts):
            if before.rows_out != after.rows_in:
                raise AssertionError(f"{before.rows_out} rows left '{before.step}', {after.rows_in} met '{after.step}'")

    def nothing_left(self, seen: str, fix: str = "") -> DataInvalid:
        """The error for a result that cannot be used: it names the step that dropped most, and why."""
        worst = max(self._counts.values(), key=lambda count: count.dropped if count.step != COLLECTING else -1)
        if not worst.dropped:
            return DataInvalid(seen, fix=fix)
        reason, rows = min(worst.causes.items(), key=lambda item: (-item[1], item[0]))
        seen = f"{seen}; the step '{worst.step}' dropped {worst.dropped} of {self.rows_read}, {rows} for '{reason}'"
        first = next((one for one in worst.examples if cause(one["reason"]) == reason), None)
        if first:
            seen = f"{seen} (line {first['line']} of {first['source']}: {first['reason']})"
        return DataInvalid(seen, fix=fix or _FIXES.get(worst.step, "add rows"))


def example(rejection: Rejection, *, is_masked: bool = False) -> dict[str, Any]:
    """A rejected row as reports show it: masked, its text cut short."""
    whole = rejection if is_masked else masked(rejection)
    # Cut only now: half an address would not be known for one.
    return {
        "source": whole.source,
        "line": whole.line,
        "reason": whole.reason,
        "raw": whole.raw[:_EXAMPLE_CHARS],
    }


def quarantine_line(step: str, rejection: Rejection, *, is_masked: bool = False) -> bytes:
    """A rejected row as it stands in the quarantine file: masked, whole, in JSON."""
    whole = rejection if is_masked else masked(rejection)
    told = {"source": whole.source, "line": whole.line, "step": step, "reason": whole.reason, "raw": whole.raw}
    return msgspec.json.encode(told) + b"\n"


def masked(rejection: Rejection) -> Rejection:
    """A rejected row without personal data. A reason may quote the row, so it is masked as the row is."""
    return msgspec.structs.replace(rejection, reason=mask_raw(rejection.reason), raw=mask_raw(rejection.raw))


_FIXES = {
    "reading": "mend the lines; each needs one JSON object, or the cells that the CSV header names",
    "mapping": "name the shape of the rows in `shape`, or the fields they have in `prompt`, `answer` and `id`",
    "length": "widen `min_chars` and `max_chars` of the dataset, or mend the rows",
    "tokens": "widen `tokens.min` and `tokens.max` of the dataset",
    "quality": "loosen `quality` of the dataset, or mend the rows",
    "personal_data": "set `personal_data: mask` to keep such rows without the data",
    "decontamination": "take rows that no suite holds",
    "exclusion": "take rows that the excluded datasets do not hold",
    "exact_duplicates": "add rows that differ from one another",
    "conflicts": "correct the answers of prompts that have several",
    "near_duplicates": "raise `near_duplicates` of the dataset towards 1, or set it to null",
    "semantic_duplicates": "raise `semantic_duplicates.threshold` of the dataset towards 1",
    "balance": "raise `balance.max_share` of the dataset",
}
