"""What a step did with some rows: the rows it leaves, which of them go no further and why, how many it changed.

A reason reads `cause: detail`; the cause is a short fixed phrase, so that causes can be counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from modelyard.datasets.rows import Rows


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """One row that went no further, with its text as it was read. `source` is the name of its file."""

    source: str
    line: int
    reason: str
    raw: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a step. `rows` are as many as went in; `rejected` tells by place which go no further, and why.

    `findings` are counts of what a step saw besides.
    """

    rows: Rows
    rejected: Mapping[int, str] = field(default_factory=dict)
    changed: int = 0
    findings: Mapping[str, int] = field(default_factory=dict)


def cause(reason: str) -> str:
    """The countable part of a reason."""
    return reason.partition(":")[0]
