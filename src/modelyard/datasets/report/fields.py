"""How often the fields of the raw rows are missing, null or empty. Rows are counted as they were read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from typing import Any

MAX_FIELDS = 64


@dataclass(slots=True, eq=False)
class FieldCounts:
    """Rows by field: [present, null, empty], for the first 64 fields that were met."""

    rows: int = 0
    by_field: dict[str, list[int]] = field(default_factory=dict)

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Count the fields of some raw rows. Empty is a text, list or object with nothing in it."""
        self._count(len(rows), _counts(rows))

    def merge(self, other: "FieldCounts") -> None:
        """Add what another one counted in the rows that come behind."""
        self._count(other.rows, other.by_field)

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the report: by field the rows without it, with null, with nothing in it, and their share."""
        told = {}
        for name, (present, null, empty) in self.by_field.items():
            missing = self.rows - present
            share = round((missing + null + empty) / self.rows, 6) if self.rows else 0.0
            told[name] = {"missing": missing, "null": null, "empty": empty, "share": share}
        return {"rows": self.rows, "limit": MAX_FIELDS, "fields": told}

    def _count(self, rows: int, by_field: dict[str, list[int]]) -> None:
        self.rows += rows
        for name, counts in by_field.items():
            known = self.by_field.get(name)
            if known is not None:
                self.by_field[name] = [a + b for a, b in zip(known, counts, strict=True)]
            elif len(self.by_field) < MAX_FIELDS:
                self.by_field[name] = list(counts)


def _counts(rows: Sequence[dict[str, Any]]) -> dict[str, list[int]]:
    """By field [present, null, empty], in the order in which the fields are met."""
    if not rows:
        return {}
    # Most files repeat the fields of their first row: then no row needs to be looked at for its own.
    counts = {name: _column(name, rows) for name in islice(rows[0], MAX_FIELDS)}
    if sum(map(len, rows)) != sum(present for present, _, _ in counts.values()):
        names = dict.fromkeys(name for row in rows for name in row)
        counts = {name: counts.get(name) or _column(name, rows) for name in islice(names, MAX_FIELDS)}
    return counts


def _column(name: str, rows: Sequence[dict[str, Any]]) -> list[int]:
    try:
        values = list(map(itemgetter(name), rows))
    except KeyError:
        values = [row[name] for row in rows if name in row]
    if all(values):
        return [len(values), 0, 0]
    hollow = [value for value in values if not value]
    texts, null = hollow.count(""), hollow.count(None)
    others = len(hollow) - texts - null
    return [len(values), null, texts + (sum(value in ([], {}) for value in hollow) if others else 0)]
