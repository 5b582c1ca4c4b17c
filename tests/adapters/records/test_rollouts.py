import msgspec
import pytest

from modelyard.adapters.records.store import SqlRecords
from modelyard.core.errors import Conflict, NotFound
from modelyard.ports.rollout import Rollout, RolloutEvent, RolloutState
from tests.adapters.records.values import NOW_MS, a_launch, a_rollout, an_event


@pytest.fixture
def launched(records: SqlRecords) -> Rollout:
    """The service `support` with a champion."""
    launch = a_launch()
    records.rollouts.add(launch)
    return launch


def test_a_rollout_comes_back_equal(records: SqlRecords, launched: Rollout) -> None:
    rollout = a_rollout()
    records.rollouts.add(rollout)
    records.rollouts.add(rollout)
    assert records.rollouts.get(rollout.id) == rollout
    assert records.rollouts.running() == [rollout]
    with pytest.raises(NotFound):
        records.rollouts.get("absent")


def test_one_runs_for_a_service(records: SqlRecords, launched: Rollout) -> None:
    first = a_rollout()
    records.rollouts.add(first)
    with pytest.raises(Conflict, match=first.id):
        records.rollouts.add(a_rollout())
    records.rollouts.add(a_launch("sales"))
    other = a_rollout("sales")
    records.rollouts.add(other)
    assert records.rollouts.running() == [other, first]
    assert records.rollouts.running("sales") == [other]


def test_the_next_may_begin_when_one_ended(records: SqlRecords, launched: Rollout) -> None:
    first = a_rollout()
    records.rollouts.add(first)
    ended = _with_event(first, an_event("promoted"), state="promoted", finished_ms=NOW_MS + 5)
    records.rollouts.replace(ended, expected_events=1)
    second = a_rollout(champion=ended.challenger, challenger="sha256:c", started_ms=NOW_MS - 6)
    records.rollouts.add(second)
    assert records.rollouts.running("support") == [second]
    assert records.rollouts.newest("support") == [second, ended, launched]
    assert records.rollouts.latest() == records.rollouts.latest("support") == [second]
    assert records.rollouts.latest("sales") == []
    assert records.rollouts.newest("sales") == []


def test_the_newest_is_the_last_added_whatever_the_clocks_say(records: SqlRecords) -> None:
    first, second = a_launch("a", started_ms=NOW_MS + 9), a_launch("b", started_ms=NOW_MS)
    after = a_rollout("a", started_ms=NOW_MS - 9)
    for one in (first, second, after):
        records.rollouts.add(one)
    assert records.rollouts.newest() == [after, second, first]
    assert records.rollouts.latest() == [after, second]


@pytest.mark.parametrize("champion", ["", "sha256:other"])
@pytest.mark.parametrize("state", ["running", "promoted"])
def test_a_rollout_begins_with_what_serves(
    records: SqlRecords, launched: Rollout, champion: str, state: RolloutState
) -> None:
    with pytest.raises(Conflict, match="champion of 'support' is sha256:a"):
        records.rollouts.add(a_rollout(champion=champion, state=state))
    with pytest.raises(Conflict, match="nothing yet"):
        records.rollouts.add(a_rollout("never launched"))
    records.rollouts.add(launched)
    assert records.rollouts.newest() == [launched]


def test_nothing_is_added_while_one_runs(records: SqlRecords, launched: Rollout) -> None:
    running = a_rollout()
    records.rollouts.add(running)
    with pytest.raises(Conflict, match=running.id):
        records.rollouts.add(a_rollout(state="promoted"))


def test_a_stale_writer_is_refused(records: SqlRecords, launched: Rollout) -> None:
    rollout = a_rollout()
    records.rollouts.add(rollout)
    advanced = _with_event(rollout, an_event("advanced"), step=1)
    records.rollouts.replace(advanced, expected_events=1)
    with pytest.raises(Conflict, match="2 events by now"):
        records.rollouts.replace(_with_event(rollout, an_event("rolled_back")), expected_events=1)
    assert records.rollouts.get(rollout.id) == advanced


def test_events_are_never_rewritten(records: SqlRecords, launched: Rollout) -> None:
    rollout = a_rollout()
    records.rollouts.add(rollout)
    with pytest.raises(Conflict, match="rewritten"):
        records.rollouts.replace(msgspec.structs.replace(rollout, events=(an_event("held"),)), expected_events=1)
    with pytest.raises(Conflict, match="rewritten"):
        records.rollouts.replace(msgspec.structs.replace(rollout, events=()), expected_events=1)


def test_an_ended_rollout_does_not_run_again_beside_another(records: SqlRecords, launched: Rollout) -> None:
    first = a_rollout(state="promoted")
    records.rollouts.add(first)
    records.rollouts.add(a_rollout(champion=first.challenger, challenger="sha256:c"))
    with pytest.raises(Conflict):
        records.rollouts.replace(_with_event(first, an_event("held"), state="running"), expected_events=1)


def test_replacing_an_unknown_rollout_is_not_found(records: SqlRecords) -> None:
    with pytest.raises(NotFound):
        records.rollouts.replace(a_rollout(), expected_events=1)


def _with_event(rollout: Rollout, event: RolloutEvent, **fields: object) -> Rollout:
    return msgspec.structs.replace(rollout, events=(*rollout.events, event), **fields)
