"""How far apart two reports are, as total variation distances between what they counted."""

from collections.abc import Mapping
from typing import Any

Counts = Mapping[Any, float]


def total_variation(a: Counts, b: Counts) -> float:
    """Half the sum of the differences in share, from 0 (the same mix) to 1 (nothing in common).

    Where only one of the two counted anything it is 1, where none did, 0.
    """
    sum_a, sum_b = sum(a.values()), sum(b.values())
    if not sum_a or not sum_b:
        return float(bool(sum_a) != bool(sum_b))
    keys = [*a, *(key for key in b if key not in a)]
    return sum(abs(a.get(key, 0) / sum_a - b.get(key, 0) / sum_b) for key in keys) / 2


def label_counts(report: Mapping[str, Any]) -> dict[str, int] | None:
    """Rows by label over all splits; None where there are no labels, or too many to be counted one by one."""
    labels = report["labels"]
    if not labels["rows"]:
        return None
    return {label: sum(rows.values()) for label, rows in labels["rows"].items()}


def length_counts(report: Mapping[str, Any], part: str) -> dict[int, int]:
    """Rows by the lower bound of their bin. `part` is one of the lengths of the report."""
    return {one["from"]: one["rows"] for one in report["lengths"][part]["bins"]}
