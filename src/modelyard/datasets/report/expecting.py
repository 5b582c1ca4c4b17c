"""Whether a dataset is what its configuration expects, told by its report alone."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modelyard.datasets.collection.reasons import COLLECTING
from modelyard.datasets.expectations import ExpectationsConfig
from modelyard.datasets.report.distance import label_counts, length_counts, total_variation
from modelyard.ports.dataset import Dataset

Report = Mapping[str, Any]
Finding = dict[str, Any]
_MAX_NAMED = 10


def check_expectations(expectations: ExpectationsConfig, report: Report, previous: Report | None) -> list[Finding]:
    """One finding an expectation: {"expectation", "bound", "seen", "passed", "detail"}.

    `previous` is the report of the version before, None where there is none; then there is nothing to drift from.
    """
    return [
        *_rows(expectations, report),
        *_labels(expectations, report),
        *_null_shares(expectations, report),
        *_dropped(expectations, report),
        *_drift(expectations, report, previous),
    ]


def version_before(dataset: Dataset, newest: Sequence[Dataset]) -> Dataset | None:
    """The version that drift is measured from: of the datasets of this name, newest first, the one behind it."""
    digests = [one.digest for one in newest]
    behind = newest[digests.index(dataset.digest) + 1 :] if dataset.digest in digests else newest
    return behind[0] if behind else None


def _finding(expectation: str, bound: Any, seen: Any, *, passed: bool, detail: str = "") -> Finding:
    return {"expectation": expectation, "bound": bound, "seen": seen, "passed": passed, "detail": detail}


def _rows(expectations: ExpectationsConfig, report: Report) -> Iterator[Finding]:
    for split, bound in expectations.min_rows.items():
        seen = report["rows"].get(split, 0)
        yield _finding(f"min_rows.{split}", bound, seen, passed=seen >= bound, detail=f"rows of the split '{split}'")


def _labels(expectations: ExpectationsConfig, report: Report) -> Iterator[Finding]:
    labels = report["labels"]
    wanted = expectations.labels
    uncounted = _uncounted(labels)
    if wanted is not None:
        unknown = sorted(set(labels["rows"]) - set(wanted))
        missing = sorted(set(wanted) - set(labels["rows"]))
        detail = uncounted or _listed({"not expected": unknown, "without a row": missing})
        if labels["unlabelled"]:
            detail = "; ".join(filter(None, (detail, f"{labels['unlabelled']:,} rows have no label")))
        yield _finding("labels", len(wanted), labels["distinct"], passed=not detail, detail=detail)
    bound = expectations.min_rows_per_label
    if bound is not None:
        rows = {label: counts["train"] for label, counts in labels["rows"].items()}
        rows.update({label: 0 for label in wanted or () if label not in rows})
        few = sorted((count, label) for label, count in rows.items() if count < bound)
        detail = uncounted or _listed({"too few": [f"{label} ({count:,})" for count, label in few]})
        seen = min(rows.values(), default=0)
        yield _finding("min_rows_per_label", bound, seen, passed=not detail, detail=detail)


def _uncounted(labels: Mapping[str, Any]) -> str:
    if not labels["is_exact"]:
        return f"about {labels['distinct']:,} labels, of which at most {labels['limit']:,} are counted: is it a label?"
    return "" if labels["rows"] else "no row has a label: name its field in `label` of the dataset"


def _null_shares(expectations: ExpectationsConfig, report: Report) -> Iterator[Finding]:
    fields = report["fields"]["fields"]
    for name, bound in expectations.max_null_share.items():
        if name in fields:
            counts = fields[name]
            seen = counts["share"]
            parts = ", ".join(f"{counts[part]:,} {part}" for part in ("missing", "null", "empty"))
            detail = f"{parts} of {report['fields']['rows']:,} raw rows"
        else:
            # A report names the first fields only; of another one it cannot say that it is filled.
            seen, detail = 1.0, f"none of the first {report['fields']['limit']} fields of the raw rows is '{name}'"
        yield _finding(f"max_null_share.{name}", bound, seen, passed=seen <= bound, detail=detail)


def _dropped(expectations: ExpectationsConfig, report: Report) -> Iterator[Finding]:
    bound = expectations.max_dropped_share
    if bound is None:
        return
    read = report["rows_read"]
    dropped = read - sum(report["rows"].values())
    share = round(dropped / read, 6) if read else 0.0
    steps = [step for step in report["steps"] if step["step"] != COLLECTING]
    worst = max(steps, key=lambda step: step["dropped"])
    detail = f"{dropped:,} of {read:,} raw rows"
    if dropped:
        detail += f", {worst['dropped']:,} by the step '{worst['step']}'"
    yield _finding("max_dropped_share", bound, share, passed=dropped <= bound * read, detail=detail)


def _drift(expectations: ExpectationsConfig, report: Report, previous: Report | None) -> Iterator[Finding]:
    bound = expectations.max_drift
    if bound is None:
        return
    if previous is None:
        yield _finding("max_drift", bound, None, passed=True, detail="no version before this one")
        return
    seen, of = drift(report, previous)
    detail = f"total variation distance of the {of} from version {previous['digest'].removeprefix('sha256:')[:12]}"
    yield _finding("max_drift", bound, round(seen, 6), passed=seen <= bound, detail=detail)


def drift(report: Report, previous: Report) -> tuple[float, str]:
    """How far the labels moved, and of what that is the distance; of lengths where there are no labels in both."""
    labels, before = label_counts(report), label_counts(previous)
    if labels is not None and before is not None:
        return total_variation(labels, before), "labels"
    found = {
        part: total_variation(length_counts(report, part), length_counts(previous, part))
        for part in ("prompt", "answer")
    }
    part = max(found, key=found.__getitem__)
    return found[part], f"{part} lengths"


def _listed(groups: Mapping[str, list[str]]) -> str:
    told = []
    for title, names in groups.items():
        if names:
            more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
            told.append(f"{title}: {', '.join(names[:_MAX_NAMED])}{more}")
    return "; ".join(told)
