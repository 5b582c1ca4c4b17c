"""Evaluation reports by id."""

from modelyard.adapters.records.connections import Connections
from modelyard.adapters.records.shelf import Shelf
from modelyard.adapters.records.tables import reports
from modelyard.ports.report import Report


class SqlReports:
    """The `reports` table."""

    def __init__(self, connections: Connections) -> None:
        self._shelf = Shelf(connections, reports, Report, noun="report")

    def add(self, report: Report) -> None:
        """Add a report."""
        self._shelf.add(report, id=report.id, release=report.release, created_ms=report.created_ms)

    def get(self, id: str) -> Report:
        """The report of an id."""
        return self._shelf.get(id)

    def newest(self, release: str | None = None) -> list[Report]:
        """All reports, or those on a release."""
        where = () if release is None else (reports.c.release == release,)
        return self._shelf.pick(*where, order=(reports.c.created_ms.desc(), reports.c.id.desc()))
