"""What changed between two datasets: rows, steps, configuration, labels, lengths, languages, sources."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelyard.datasets.report.distance import label_counts, length_counts, total_variation
from modelyard.datasets.report.reading import Report, read_report
from modelyard.datasets.report.row_changes import row_changes

_MAX_LABELS = 10
# What the split of a row depends on, besides its text.
_SPLIT_KEYS = ("splits", "salt", "group", "stratify", "shape", "prompt", "unicode")


def compare(a: Path, b: Path) -> dict[str, Any]:
    """What changed from the dataset in folder `a` to the one in folder `b`. Reads rows in pieces.

    Raises: DataInvalid where a folder holds no report of this version.
    """
    report_a, report_b = read_report(a), read_report(b)
    config = _config_changes(report_a["config"], report_b["config"])
    return {
        "a": _head(report_a),
        "b": _head(report_b),
        "is_same": report_a["digest"] == report_b["digest"],
        "rows": row_changes(a, b),
        "split_rules": [one["key"] for one in config if one["key"].split(".")[0] in _SPLIT_KEYS],
        "steps": _steps(report_a, report_b),
        "config": config,
        "sources": _sources(report_a, report_b),
        "labels": _labels(report_a, report_b),
        "lengths": _lengths(report_a, report_b),
        "languages": {
            "distance": _rounded(total_variation(report_a["languages"]["rows"], report_b["languages"]["rows"])),
            "a": report_a["languages"]["rows"],
            "b": report_b["languages"]["rows"],
        },
    }


def _head(report: Report) -> dict[str, Any]:
    return {name: report[name] for name in ("name", "digest", "rows_read", "rows")}


def _steps(a: Report, b: Report) -> list[dict[str, Any]]:
    """The steps of both side by side, in the order of the second; None where one had not this step."""
    by_name = [{step["step"]: _counts(step) for step in report["steps"]} for report in (a, b)]
    names = [*by_name[1], *(name for name in by_name[0] if name not in by_name[1])]
    return [{"step": name, "a": by_name[0].get(name), "b": by_name[1].get(name)} for name in names]


def _counts(step: Mapping[str, Any]) -> dict[str, int]:
    return {name: step[name] for name in ("rows_in", "dropped", "changed")}


def _config_changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The keys, as `near_duplicates.threshold`, whose values differ; None where a key is missing."""
    flat_a, flat_b = _flat(a), _flat(b)
    keys = [*flat_b, *(key for key in flat_a if key not in flat_b)]
    return [
        {"key": key, "a": flat_a.get(key), "b": flat_b.get(key)} for key in keys if flat_a.get(key) != flat_b.get(key)
    ]


def _flat(config: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flat(value, f"{above}{key}."))
        else:
            flat[above + key] = value
    return flat


def _sources(a: Report, b: Report) -> list[dict[str, Any]]:
    """Every raw file of both with what became of it: same, changed, added or removed."""
    by_path = [{source["path"]: source for source in report["sources"]} for report in (a, b)]
    told = []
    for path in [*by_path[1], *(path for path in by_path[0] if path not in by_path[1])]:
        before, after = (sources.get(path) for sources in by_path)
        if before and after:
            became = "same" if before["digest"] == after["digest"] else "changed"
        else:
            became = "added" if after else "removed"
        sizes = {side: one and one["num_bytes"] for side, one in (("a", before), ("b", after))}
        told.append({"path": path, "became": became, "num_bytes": sizes})
    return told


def _labels(a: Report, b: Report) -> dict[str, Any]:
    counts_a, counts_b = label_counts(a), label_counts(b)
    told = {"a": a["labels"]["distinct"], "b": b["labels"]["distinct"], "distance": None, "most": []}
    if counts_a is None or counts_b is None:
        return told
    sum_a, sum_b = sum(counts_a.values()), sum(counts_b.values())
    labels = [*counts_b, *(label for label in counts_a if label not in counts_b)]
    shares = {label: (counts_a.get(label, 0) / sum_a, counts_b.get(label, 0) / sum_b) for label in labels}
    moved = sorted(shares, key=lambda label: (-abs(shares[label][0] - shares[label][1]), label))
    most = [
        {"label": label, "a": counts_a.get(label, 0), "b": counts_b.get(label, 0)}
        for label in moved[:_MAX_LABELS]
        if counts_a.get(label, 0) != counts_b.get(label, 0)
    ]
    return {**told, "distance": _rounded(total_variation(counts_a, counts_b)), "most": most}


def _lengths(a: Report, b: Report) -> dict[str, Any]:
    told = {}
    for part in b["lengths"]:
        counts = length_counts(a, part), length_counts(b, part)
        if any(counts):
            sides = {
                side: {name: report["lengths"][part].get(name, 0) for name in ("mean", "p50", "p95", "max")}
                for side, report in (("a", a), ("b", b))
            }
            told[part] = {"distance": _rounded(total_variation(*counts)), **sides}
    return told


def _rounded(distance: float) -> float:
    return round(distance, 6)
