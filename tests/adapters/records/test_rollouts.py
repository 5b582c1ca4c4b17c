import msgspec
import pytest

from modelyard.adapters.records.store import SqlRecords
from modelyard.core.errors import Conflict, NotFound
from modelyard.ports.rollout import Rollout, RolloutEvent
from tests.adapters.records.values import NOW_MS, a_rollout, an_event


def test_a_rollout_comes_back_equal(records: SqlRecords) -> None:
    rollout = a_rollout()
    records.rollouts.add(rollout)
    records.rollouts.add(rollout)
    assert records.rollouts.get(rollout.id) == rollout
    assert records.rollouts.running() == [rollout]
    with pytest.raises(NotFound):
        records.rollouts.get("absent")


def test_one_runs_for_a_service(records: SqlRecords) -> None:
    first = a_rollout()
    records.rollouts.add(first)
    with pytest.raises(Conflict, match=first.id):
        records.rollouts.add(a_rollout())
    other = a_rollout("sales", started_ms=NOW_MS + 1)
    records.rollouts.add(other)
    assert records.rollouts.running() == [other, first]
    assert records.rollouts.running("sales") == [other]


def test_the_next_may_begin_when_one_ended(records: SqlRecords) -> None:
    first = a_rollout()
    records.rollouts.add(first)
    ended = _with_event(first, an_event("promoted"), state="promoted", finished_ms=NOW_MS + 5)
    records.rollouts.replace(ended, expected_events=1)
    second = a_rollout(started_ms=NOW_MS + 6)
    records.rollouts.add(second)
    assert records.rollouts.running("support") == [second]
    assert records.rollouts.newest("support") == [second, ended]
    assert records.rollouts.newest("sales") == []


def test_a_stale_writer_is_refused(records: SqlRecords) -> None:
    rollout = a_rollout()
    records.rollouts.add(rollout)
    advanced = _with_event(rollout, an_event("advanced"), step=1)
    records.rollouts.replace(advanced, expected_events=1)
    with pytest.raises(Conflict, match="2 events by now"):
        records.rollouts.replace(_with_event(rollout, an_event("rolled_back")), expected_events=1)
    assert records.rollouts.get(rollout.id) == advanced


def test_events_are_never_rewritten(records: SqlRecords) -> None:
    rollout = a_rollout()
    records.rollouts.add(rollout)
    with pytest.raises(Conflict, match="rewritten"):
        records.rollouts.replace(msgspec.structs.replace(rollout, events=(an_event("held"),)), expected_events=1)
    with pytest.raises(Conflict, match="rewritten"):
        records.rollouts.replace(msgspec.structs.replace(rollout, events=()), expected_events=1)


def test_an_ended_rollout_does_not_run_again_beside_another(records: SqlRecords) -> None:
    first = a_rollout(state="promoted")
    records.rollouts.add(first)
    records.rollouts.add(a_rollout())
    with pytest.raises(Conflict):
        records.rollouts.replace(_with_event(first, an_event("held"), state="running"), expected_events=1)


def test_replacing_an_unknown_rollout_is_not_found(records: SqlRecords) -> None:
    with pytest.raises(NotFound):
        records.rollouts.replace(a_rollout(), expected_events=1)


def _with_event(rollout: Rollout, event: RolloutEvent, **fields: object) -> Rollout:
    return msgspec.structs.replace(rollout, events=(*rollout.events, event), **fields)
