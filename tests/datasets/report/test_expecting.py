"""Expectations against reports: each bound holds and breaks, and says by what."""

from typing import Any

import pytest

from modelyard.datasets.expectations import ExpectationsConfig
from modelyard.datasets.outcome import Rejection
from modelyard.datasets.report.expecting import check_expectations
from modelyard.datasets.report.labels import MAX_LABELS
from tests.datasets.report.made import Made, report_of

ROWS = {
    "train": [Made("when does it come", "x", label="delivery"), Made("my card", "x", label="card")]
    + [Made(f"where is parcel {number}", "x", label="delivery") for number in range(8)],
    "test": [Made("card lost", "x", label="card"), Made("hello", "x")],
}
LOST = [Rejection(source="rows.jsonl", line=line, reason="broken JSON", raw="{") for line in (3, 7, 9, 11)]


def found(report: dict[str, Any], previous: dict[str, Any] | None = None, **told: Any) -> list[tuple[str, bool, Any]]:
    findings = check_expectations(ExpectationsConfig.model_validate(told), report, previous)
    assert all(set(one) == {"expectation", "bound", "seen", "passed", "detail"} for one in findings)
    return [(one["expectation"], one["passed"], one["seen"]) for one in findings]


def detail(report: dict[str, Any], **told: Any) -> str:
    (finding,) = check_expectations(ExpectationsConfig.model_validate(told), report, None)
    assert not finding["passed"]
    return str(finding["detail"])


def test_rows_of_each_split() -> None:
    bounds = {"train": 10, "validation": 1, "test": 3}
    assert found(report_of(ROWS), min_rows=bounds) == [
        ("min_rows.train", True, 10),
        ("min_rows.validation", False, 0),
        ("min_rows.test", False, 2),
    ]


def test_rows_of_each_label() -> None:
    report = report_of(ROWS)
    assert found(report, min_rows_per_label=1) == [("min_rows_per_label", True, 1)]
    assert detail(report, min_rows_per_label=2) == "too few: card (1)"
    # A label that is expected and has no row at all has too few.
    findings = found(report, min_rows_per_label=1, labels=["card", "delivery", "refund"])
    assert findings == [("labels", False, 2), ("min_rows_per_label", False, 0)]


def test_labels_that_may_and_must_occur() -> None:
    labelled = {split: [one for one in made if one.label] for split, made in ROWS.items()}
    assert found(report_of(labelled), labels=["delivery", "card"]) == [("labels", True, 2)]
    told = detail(report_of(ROWS), labels=["delivery", "refund"])
    assert told == "not expected: card; without a row: refund; 1 rows have no label"


def test_labels_that_are_none() -> None:
    assert "no row has a label" in detail(report_of({"train": [Made("a", "b")]}), labels=["x"])
    many = report_of({"train": [Made(f"a {n}", "b", label=f"label {n}") for n in range(MAX_LABELS + 5)]})
    assert "is it a label?" in detail(many, min_rows_per_label=1)


def test_null_shares_of_raw_fields() -> None:
    report = report_of(ROWS)
    assert found(report, max_null_share={"text": 0, "label": 0.1}) == [
        ("max_null_share.text", True, 0.0),
        ("max_null_share.label", True, pytest.approx(1 / 12, abs=1e-6)),
    ]
    assert detail(report, max_null_share={"label": 0.05}) == "0 missing, 1 null, 0 empty of 12 raw rows"
    assert "is 'txt'" in detail(report, max_null_share={"txt": 0.5})


def test_dropped_rows() -> None:
    report = report_of(ROWS, dropped=LOST)
    assert found(report, max_dropped_share=0.25) == [("max_dropped_share", True, 0.25)]
    assert detail(report, max_dropped_share=0.2) == "4 of 16 raw rows, 4 by the step 'reading'"


def test_drift_of_labels_from_the_version_before() -> None:
    before = report_of({"train": [Made(f"a {n}", "x", label="card") for n in range(5)]})
    after = report_of({"train": [Made(f"a {n}", "x", label="card" if n < 3 else "refund") for n in range(5)]})
    assert found(after, before, max_drift=0.4) == [("max_drift", True, 0.4)]
    assert found(after, before, max_drift=0.3) == [("max_drift", False, 0.4)]
    assert found(after, None, max_drift=0.3) == [("max_drift", True, None)]


def test_drift_of_lengths_where_there_are_no_labels() -> None:
    before = report_of({"train": [Made("short", "same")] * 4})
    after = report_of({"train": [Made("short", "same"), *[Made("a long prompt " * 9, "same")] * 3]})
    (finding,) = check_expectations(ExpectationsConfig(max_drift=0.5), after, before)
    assert (finding["seen"], finding["passed"]) == (0.75, False)
    assert "prompt lengths" in finding["detail"]
