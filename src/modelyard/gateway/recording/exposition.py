"""Exposition: counted numbers as values, added over worker processes, and in the Prometheus text format 0.0.4."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Literal

import msgspec

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
PREFIX = "modelyard_gateway_"

_PIECE_LINES = 256
Labels = tuple[str, ...]
Kind = Literal["counter", "gauge", "worst"]


class Family(msgspec.Struct, frozen=True, array_like=True):
    """Counters or gauges of one name. Over workers they are added, but of a `worst` gauge the highest counts."""

    name: str
    kind: Kind
    help: str
    labels: Labels
    values: Sequence[tuple[Labels, int | float]]


class HistogramFamily(msgspec.Struct, frozen=True, array_like=True):
    """Histograms of one name: by labels the counts for each bound and above, and the sum."""

    name: str
    help: str
    labels: Labels
    bounds: tuple[float, ...]
    values: Sequence[tuple[Labels, list[int], float]]


class State(msgspec.Struct, frozen=True, array_like=True):
    """All that one process has counted."""

    families: list[Family]
    histograms: list[HistogramFamily]


def merged(states: Iterable[State]) -> State:
    """Several processes as one. A histogram whose bounds differ from the first's is passed over."""
    families: dict[str, tuple[Family, dict[Labels, float]]] = {}
    histograms: dict[str, tuple[HistogramFamily, dict[Labels, tuple[list[int], float]]]] = {}
    for state in states:
        for one in state.families:
            _add_family(*families.setdefault(one.name, (one, {})), one)
        for found in state.histograms:
            _add_histogram(*histograms.setdefault(found.name, (found, {})), found)
    return State(
        [msgspec.structs.replace(one, values=list(values.items())) for one, values in families.values()],
        [
            msgspec.structs.replace(one, values=[(labels, *value) for labels, value in values.items()])
            for one, values in histograms.values()
        ],
    )


def without_gauges(state: State) -> State:
    """What stays true of a process that has ended."""
    return State([one for one in state.families if one.kind == "counter"], state.histograms)


def render(state: State) -> bytes:
    """The text for a scraper."""
    return b"".join(pieces(state))


def pieces(state: State) -> Iterator[bytes]:
    """The text in pieces of `_PIECE_LINES` lines, so that an event loop can answer others in between."""
    found = (_family_lines(one) for one in state.families)
    lines = chain(chain.from_iterable(found), chain.from_iterable(map(_histogram_lines, state.histograms)))
    while piece := list(islice(lines, _PIECE_LINES)):
        yield "\n".join([*piece, ""]).encode()


def _add_family(first: Family, values: dict[Labels, float], one: Family) -> None:
    for labels, value in one.values:
        before = values.get(labels)
        if before is None:
            values[labels] = value
        else:
            values[labels] = max(before, value) if first.kind == "worst" else before + value


def _add_histogram(first: HistogramFamily, values: dict[Labels, tuple[list[int], float]], one: HistogramFamily) -> None:
    if one.bounds != first.bounds:
        return
    for labels, counts, total in one.values:
        before, total_before = values.get(labels, ([0] * len(counts), 0.0))
        values[labels] = ([a + b for a, b in zip(before, counts, strict=True)], total_before + total)


def _family_lines(family: Family) -> Iterator[str]:
    yield from _head(family.name, "counter" if family.kind == "counter" else "gauge", family.help)
    for labels, value in family.values:
        number = f"{value:.3f}" if isinstance(value, float) else str(value)
        yield f"{PREFIX}{family.name}{_braces(family.labels, labels)} {number}"


def _histogram_lines(family: HistogramFamily) -> Iterator[str]:
    yield from _head(family.name, "histogram", family.help)
    bounds = (*(f"{bound:g}" for bound in family.bounds), "+Inf")
    for labels, counts, total in family.values:
        running = 0
        for bound, count in zip(bounds, counts, strict=True):
            running += count
            yield f"{PREFIX}{family.name}_bucket{_braces((*family.labels, 'le'), (*labels, bound))} {running}"
        braces = _braces(family.labels, labels)
        yield f"{PREFIX}{family.name}_sum{braces} {total:.6f}"
        yield f"{PREFIX}{family.name}_count{braces} {running}"


def _head(name: str, kind: str, help_text: str) -> tuple[str, str]:
    return f"# HELP {PREFIX}{name} {help_text}", f"# TYPE {PREFIX}{name} {kind}"


def _braces(names: Labels, values: Labels) -> str:
    pairs = ",".join(f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True))
    return f"{{{pairs}}}" if pairs else ""


def _escape(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
