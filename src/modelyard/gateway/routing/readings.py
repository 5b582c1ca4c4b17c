"""Load readings: the few numbers wanted of an engine's metrics page, and the names that each kind gives them.

A number that a page does not tell is -1, which passes no objective: unknown is never taken for zero.
"""

from collections.abc import Mapping
from math import isfinite

from modelyard.ports.sheets import SHEETS, MetricNames

METRIC_NAMES: Mapping[str, MetricNames] = {kind: sheet.metrics for kind, sheet in SHEETS.items() if sheet.metrics}


class Wanted:
    """The names of one kind of engine, made ready to be looked for in bytes."""

    __slots__ = ("_cache_use", "_running", "_waiting", "path")

    def __init__(self, names: MetricNames) -> None:
        self.path = names.path
        self._waiting = [_needle(name) for name in names.waiting]
        self._running = [_needle(name) for name in names.running]
        self._cache_use = [_needle(name) for name in names.cache_use]

    def read(self, page: bytes) -> tuple[float, float, float]:
        """Requests waiting and running (sums over a page's samples), and the fullest cache's share in use."""
        return (
            _total(_first(page, self._waiting)),
            _total(_first(page, self._running)),
            max(_first(page, self._cache_use), default=-1.0),
        )


def _needle(name: str) -> tuple[bytes, tuple[bytes, ...]]:
    family, _, labels = name.partition("{")
    return b"\n" + family.encode(), tuple(label.encode() for label in labels.rstrip("}").split(",") if label)


def _total(values: list[float]) -> float:
    return sum(values) if values else -1.0


def _first(page: bytes, needles: list[tuple[bytes, tuple[bytes, ...]]]) -> list[float]:
    for family, labels in needles:
        if values := _samples(page, family, labels):
            return values
    return []


def _samples(page: bytes, family: bytes, labels: tuple[bytes, ...]) -> list[float]:
    """The values of one metric's samples. `find` searches in C, so a page's other lines cost almost nothing."""
    values = []
    at = 0 if page.startswith(family[1:]) else page.find(family)
    while at >= 0:
        end = page.find(b"\n", at + 1)
        line = page[at : end if end >= 0 else len(page)].strip()
        name, rest = line[: len(family) - 1], line[len(family) - 1 :]
        if name == family[1:] and rest[:1] in (b"{", b" ", b"\t") and all(label in rest for label in labels):
            values += _value(rest)
        at = page.find(family, at + 1)
    return values


def _value(rest: bytes) -> list[float]:
    """The value after a sample's labels; a time stamp may follow. Nothing where it is no number that load can have."""
    words = rest.rpartition(b"}")[2].split()
    try:
        value = float(words[0])
    except (IndexError, ValueError):
        return []
    return [value] if isfinite(value) and value >= 0 else []
