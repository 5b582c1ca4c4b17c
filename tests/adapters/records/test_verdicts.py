import pytest

from modelyard.adapters.records.store import SqlRecords
from modelyard.core.errors import Conflict, NotFound
from tests.adapters.records.values import NOW_MS, a_verdict, an_approval


def test_verdicts_come_back_by_id_and_by_release(records: SqlRecords) -> None:
    first, second = a_verdict(), a_verdict(passed=False, created_ms=NOW_MS + 2)
    other = a_verdict("sha256:s", created_ms=NOW_MS + 1)
    for verdict in (second, first, other):
        records.verdicts.add(verdict)
        records.verdicts.add(verdict)
    assert records.verdicts.get(first.id) == first
    assert records.verdicts.newest("sha256:r") == [second, first]
    assert records.verdicts.newest() == [second, other, first]


def test_a_verdict_is_not_talked_round(records: SqlRecords) -> None:
    verdict = a_verdict(passed=False)
    records.verdicts.add(verdict)
    with pytest.raises(Conflict):
        records.verdicts.add(a_verdict(id=verdict.id, passed=True))
    assert not records.verdicts.get(verdict.id).passed


def test_approvals_are_kept_in_order(records: SqlRecords) -> None:
    verdict, other = a_verdict(), a_verdict()
    records.verdicts.add(verdict)
    records.verdicts.add(other)
    late = an_approval(verdict, at_ms=NOW_MS + 1)
    early = an_approval(verdict, decision="override", reason="we must")
    for approval in (late, early, late):
        records.verdicts.approve(approval)
    assert records.verdicts.approvals(verdict.id) == [early, late]
    assert records.verdicts.approvals(other.id) == []


def test_an_approval_of_nothing_is_not_found(records: SqlRecords) -> None:
    with pytest.raises(NotFound, match="no verdict"):
        records.verdicts.approve(an_approval(a_verdict()))


def test_an_approval_cannot_be_changed(records: SqlRecords) -> None:
    verdict = a_verdict()
    records.verdicts.add(verdict)
    approval = an_approval(verdict, decision="reject")
    records.verdicts.approve(approval)
    with pytest.raises(Conflict):
        records.verdicts.approve(an_approval(verdict, id=approval.id, decision="approve"))
