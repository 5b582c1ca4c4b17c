"""What a step did: the rows it kept, the rows it rejected with a reason, and how many it changed.

A reason reads `cause: detail`; the cause is a short fixed phrase, so that causes can be counted.
"""

import msgspec
import polars as pl


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """One row that went no further."""

    source: str
    line: int
    reason: str
    raw: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a step on a frame. `rejected` has the columns of `kept` and `reason`; `findings` are counts."""

    kept: pl.DataFrame
    rejected: pl.DataFrame
    changed: int = 0
    findings: dict[str, int] = {}

    def rejections(self) -> list[Rejection]:
        """The rejected rows as values."""
        if self.rejected.is_empty():
            return []
        columns = self.rejected.select("source", "line", "reason", "raw")
        return [Rejection(source=s, line=n, reason=r, raw=raw) for s, n, r, raw in columns.iter_rows()]


def settle(frame: pl.DataFrame, *, changed: int = 0, findings: dict[str, int] | None = None) -> Outcome:
    """Part a frame by its column `reason`: null keeps a row, a text rejects it. So no row can be lost."""
    keeps = pl.col("reason").is_null()
    return Outcome(
        kept=frame.filter(keeps).drop("reason"),
        rejected=frame.filter(~keeps),
        changed=changed,
        findings=findings or {},
    )


def cause(reason: str) -> str:
    """The countable part of a reason."""
    return reason.partition(":")[0]
