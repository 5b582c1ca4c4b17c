import pytest

from modelyard.adapters.records.store import SqlRecords
from modelyard.core.errors import Conflict, InvalidInput, NotFound
from modelyard.ports.report import Metric
from tests.adapters.records.values import NOW_MS, a_report


def test_reports_come_back_by_id_and_by_release(records: SqlRecords) -> None:
    first, second, other = a_report(), a_report(created_ms=NOW_MS + 2), a_report("sha256:s", created_ms=NOW_MS + 1)
    for report in (second, first, other):
        records.reports.add(report)
        records.reports.add(report)
    assert records.reports.get(first.id) == first
    assert records.reports.newest("sha256:r") == [second, first]
    assert records.reports.newest() == [second, other, first]


def test_another_report_under_the_same_id_is_a_conflict(records: SqlRecords) -> None:
    report = a_report()
    records.reports.add(report)
    with pytest.raises(Conflict):
        records.reports.add(a_report(id=report.id, seconds=1.0))
    with pytest.raises(Conflict):
        records.reports.add(a_report(id=report.id, created_ms=NOW_MS + 1))


def test_an_unknown_report_is_not_found(records: SqlRecords) -> None:
    with pytest.raises(NotFound):
        records.reports.get("absent")


def test_a_metric_without_a_value_is_refused(records: SqlRecords) -> None:
    empty = Metric(value=float("nan"), low=0.0, high=1.0, num_rows=0)
    with pytest.raises(InvalidInput):
        records.reports.add(a_report(metrics={"exact_match": empty}))
