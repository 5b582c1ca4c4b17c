"""The content of report.json: what came in, what each step did, what the result looks like.

It holds no times and no machine, so that the same input and configuration give the same bytes. The terminal, the page,
the comparison and the expectations read it alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.index import Drops, Flags
from modelyard.datasets.ledger import MAX_EXAMPLES, Ledger
from modelyard.datasets.report.reading import VERSION, Report
from modelyard.datasets.report.statistics import Statistics
from modelyard.datasets.splits import SPLITS
from modelyard.datasets.texts import Ints

_EXCERPT_CHARS = 160
_OVERLAP_STEPS = ("decontamination", "exclusion")


def build_report(
    *,
    name: str,
    digest: str,
    config: DatasetConfig,
    sources: Sequence[Mapping[str, Any]],
    rows: Mapping[str, int],
    ledger: Ledger,
    statistics: Statistics,
    shape: Mapping[str, Any] | str,
    clusters: Mapping[str, Mapping[str, Any]],
    straddling: Mapping[str, Mapping[str, int]],
) -> Report:
    """The content of report.json.

    `sources` describe the raw files as they were read, with `path`, `digest` and `num_bytes`; `rows` are those of each
    split; `shape` tells how rows were understood. `clusters` and `straddling` come from the functions of these names,
    the one by the kind of duplicates, the other by the step.
    """
    conflicts = ledger.count("conflicts")
    return {
        "version": VERSION,
        "name": name,
        "digest": digest,
        "rows_read": ledger.rows_read,
        "rows": {split: rows.get(split, 0) for split in SPLITS},
        "config": config.model_dump(mode="json"),
        "sources": [dict(source) for source in sources],
        "shape": shape,
        "steps": list(ledger.as_dicts()),
        "labels": statistics.labels.as_dict(),
        "desirable": dict(zip(("no", "yes"), statistics.desirable, strict=True)),
        "lengths": _lengths(statistics),
        "languages": statistics.sample.as_dict(),
        "fields": statistics.fields.as_dict(),
        "personal_data": {
            "mode": config.personal_data.mode,
            "found": dict(sorted(ledger.count("personal_data").findings.items())),
        },
        "duplicates": {kind: dict(found) for kind, found in clusters.items()},
        "conflicts": {"mode": config.conflicts, "rows": conflicts.dropped, "examples": conflicts.examples},
        "leakage": {
            "dropped": {step: dict(sorted(ledger.count(step).causes.items())) for step in _OVERLAP_STEPS},
            "straddling": {step: dict(found) for step, found in straddling.items()},
        },
    }


def clusters(
    sizes: npt.NDArray[np.integer[Any]], alive: Flags, look: Callable[[Ints], Sequence[tuple[str, int, str]]]
) -> dict[str, Any]:
    """Rows that stand for several, with the largest ten of them.

    Shapes: sizes, alive (rows,); `sizes` counts the rows that a row stands for, itself among them. `look` gives
    source, line and prompt of rows at some places, in their order.
    """
    places = np.flatnonzero(alive & (sizes > 1))
    largest = places[np.argsort(-sizes[places].astype(np.int64), kind="stable")][:MAX_EXAMPLES]
    seen = zip(sizes[largest].tolist(), look(largest) if len(largest) else (), strict=True)
    return {
        "clusters": len(places),
        "rows": int(sizes[places].sum()),
        "largest": [
            {"rows": size, "source": source, "line": line, "prompt": prompt[:_EXCERPT_CHARS]}
            for size, (source, line, prompt) in seen
        ],
    }


def straddling(drops: Drops, split: npt.NDArray[np.int8]) -> dict[str, int]:
    """How many rows gave way to a row of another split: what would have leaked, by 'from to'. Shape: split (rows,)."""
    known = drops.witness >= 0
    pairs = len(SPLITS) * split[drops.places[known]].astype(np.int64) + split[drops.witness[known]]
    counts = np.bincount(pairs, minlength=len(SPLITS) ** 2).reshape(len(SPLITS), len(SPLITS))
    return {
        f"{SPLITS[gone]} to {SPLITS[kept]}": int(counts[gone, kept])
        for gone in range(len(SPLITS))
        for kept in range(len(SPLITS))
        if gone != kept and counts[gone, kept]
    }


def _lengths(statistics: Statistics) -> dict[str, Any]:
    told = {name: histogram.as_dict() for name, histogram in statistics.chars.items()}
    return {**told, "tokens": statistics.tokens.as_dict(), "turns": statistics.turns.as_dict()}
