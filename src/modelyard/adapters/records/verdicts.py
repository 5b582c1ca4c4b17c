"""Verdicts by id, and the approvals on them."""

from modelyard.adapters.records.connections import Connections
from modelyard.adapters.records.shelf import Shelf
from modelyard.adapters.records.tables import approvals, verdicts
from modelyard.ports.verdict import Approval, Verdict


class SqlVerdicts:
    """The `verdicts` and `approvals` tables. Both only grow."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._shelf = Shelf(connections, verdicts, Verdict, noun="verdict")
        self._approvals = Shelf(connections, approvals, Approval, noun="approval")

    def add(self, verdict: Verdict) -> None:
        """Add a verdict."""
        self._shelf.add(
            verdict, id=verdict.id, release=verdict.release, passed=verdict.passed, created_ms=verdict.created_ms
        )

    def get(self, id: str) -> Verdict:
        """The verdict of an id."""
        return self._shelf.get(id)

    def newest(self, release: str | None = None) -> list[Verdict]:
        """All verdicts, or those on a release."""
        where = () if release is None else (verdicts.c.release == release,)
        return self._shelf.pick(*where, order=(verdicts.c.created_ms.desc(), verdicts.c.id.desc()))

    def approve(self, approval: Approval) -> None:
        """Add a decision on a verdict. Raises: NotFound where there is no such verdict."""
        row = {"verdict_id": approval.verdict_id, "decision": approval.decision, "at_ms": approval.at_ms}
        with self._connections.write() as connection:
            self._shelf.get_within(connection, approval.verdict_id)
            self._approvals.add_within(connection, approval, id=approval.id, **row)

    def approvals(self, verdict_id: str) -> list[Approval]:
        """The decisions on a verdict, oldest first."""
        of_verdict = approvals.c.verdict_id == verdict_id
        return self._approvals.pick(of_verdict, order=(approvals.c.at_ms, approvals.c.id))
