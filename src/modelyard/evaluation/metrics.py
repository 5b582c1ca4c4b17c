"""Metrics over the rows of an evaluation, each with its 95% confidence interval."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from modelyard.core.errors import DataInvalid
from modelyard.ports.report import Metric, RowResult

Z_95 = 1.959963984540054
MAX_LABELS = 500


def exact_match(expected: str, answer: str, *, fold_case: bool = False) -> float:
    """1 where the answer is the expected text but for white space around it, else 0."""
    left, right = expected.strip(), answer.strip()
    return float(left.casefold() == right.casefold() if fold_case else left == right)


def proportion(successes: float, num_rows: int) -> Metric:
    """A share with its Wilson score interval.

    Raises: DataInvalid without rows. Source: Wilson (1927); Brown, Cai & DasGupta (2001).
    """
    _some(num_rows)
    share, z2 = successes / num_rows, Z_95**2
    centre = (share + z2 / (2 * num_rows)) / (1 + z2 / num_rows)
    half = Z_95 * math.sqrt(share * (1 - share) / num_rows + z2 / (4 * num_rows**2)) / (1 + z2 / num_rows)
    # At the ends the bound is the share itself; rounding must not push it past.
    return Metric(value=share, low=max(0.0, min(share, centre - half)), high=min(1.0, max(share, centre + half)),
                  num_rows=num_rows)  # fmt: skip


def quantile(values: Sequence[float], share: float) -> Metric:
    """The nearest-rank quantile with an interval between order statistics, which assumes no distribution.

    Raises: DataInvalid without values. Source: Conover (1999), section 3.2, by the normal approximation.
    """
    _some(len(values))
    ordered, count = sorted(values), len(values)
    spread = Z_95 * math.sqrt(count * share * (1 - share))

    def at(rank: float) -> float:
        return ordered[min(count, max(1, math.ceil(rank))) - 1]

    return Metric(
        value=at(count * share), low=at(count * share - spread), high=at(count * share + spread + 1), num_rows=count
    )


def summarise(rows: Sequence[RowResult], metric: str) -> dict[str, Metric]:
    """The suite's metric, the share of rows that failed, and latencies in milliseconds of those that did not."""
    answered = [row.latency_ms for row in rows if not row.error]
    summary = {
        metric: proportion(sum(row.score for row in rows), len(rows)),
        "error_rate": proportion(sum(bool(row.error) for row in rows), len(rows)),
    }
    if answered:
        summary |= {"latency_p50_ms": quantile(answered, 0.5), "latency_p95_ms": quantile(answered, 0.95)}
    return summary


def slice_by_expected(rows: Sequence[RowResult]) -> Mapping[str, Metric]:
    """The metric for each expected answer, as `expected=LABEL`; none where the answers are no set of labels."""
    groups: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        groups[row.expected].append(row.score)
    if len(groups) > min(MAX_LABELS, len(rows) / 2):
        return {}
    return {f"expected={label}": proportion(sum(scores), len(scores)) for label, scores in sorted(groups.items())}


def _some(count: int) -> None:
    if count == 0:
        raise DataInvalid("there is no row to measure", expected="at least one", fix="check the suite's split")
