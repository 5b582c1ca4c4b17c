"""A finding: what one check saw, how bad it is, and what to do about it."""

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from modelyard.core.errors import RecipeInvalid
from modelyard.training.tokenization import Row

Severity = Literal["error", "warning"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check saw. `fix` says what to do about it, and is empty where it passed.

    An error stops the training; a warning is told, and training goes on.
    """

    name: str
    passed: bool
    seen: str
    fix: str = ""
    severity: Severity = "error"

    @property
    def stops(self) -> bool:
        """Whether training must not begin."""
        return not self.passed and self.severity == "error"


def require(findings: Sequence[Finding]) -> None:
    """Raises: RecipeInvalid that lists every error that was found."""
    failed = [finding for finding in findings if finding.stops]
    if failed:
        raise RecipeInvalid(
            "preflight failed:\n" + "\n".join(f"- {finding.name}: {finding.seen}" for finding in failed),
            fix="; ".join(finding.fix for finding in failed),
        )


def found(name: str, passed: bool, seen: str, fix: str, severity: Severity = "error") -> Finding:
    """A finding, whose fix is dropped where it passed."""
    return Finding(name=name, passed=passed, seen=seen, fix="" if passed else fix, severity=severity)


def by_row(name: str, rows: Sequence[Row], failing: Sequence[int] | np.ndarray, fix: str) -> Finding:
    """A check that every row must pass; `failing` are the places of those that do not, in order.

    Without rows nothing was shown, so it fails.
    """
    if not rows:
        return found(name, False, "there are no rows", fix or "choose a dataset with training rows")
    if not len(failing):
        return found(name, True, f"all {len(rows):,} rows", fix)
    share = len(failing) / len(rows)
    first = rows[int(failing[0])].example_id
    return found(name, False, f"{len(failing):,} of {len(rows):,} rows ({share:.2%}) fail, the first is {first}", fix)
