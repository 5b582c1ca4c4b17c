"""Two processes want the same thing at the same moment."""

import multiprocessing
from collections.abc import Callable
from functools import partial
from multiprocessing.synchronize import Barrier

import msgspec
import pytest

from modelyard.adapters.records.store import SqlRecords, open_records
from modelyard.core.errors import Conflict
from modelyard.ports.interaction import Interaction
from modelyard.ports.records import JournalMark
from modelyard.ports.release import Release
from modelyard.ports.rollout import Rollout
from tests.adapters.records.values import (
    a_launch,
    a_move,
    a_release,
    a_rollout,
    a_run,
    a_table,
    an_event,
    an_interaction,
)

_processes = multiprocessing.get_context("fork")
Act = Callable[[SqlRecords, int], object]


def at_once(url: str, act: Act, num_processes: int = 2) -> list[object]:
    """What each of some processes returned, or the name of the error that it met, all starting together."""
    barrier = _processes.Barrier(num_processes)
    answers = _processes.SimpleQueue()
    children = [
        _processes.Process(target=_child, args=(url, act, number, barrier, answers)) for number in range(num_processes)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * num_processes
    return [answers.get() for _ in children]


def _child(url: str, act: Act, number: int, barrier: Barrier, answers: "multiprocessing.SimpleQueue[object]") -> None:
    records = open_records(url)
    barrier.wait(30)
    try:
        answers.put(act(records, number))
    except Conflict as error:
        answers.put(type(error).__name__)
    records.close()


@pytest.mark.parametrize("_round", range(3))
def test_one_of_two_moves_wins(records: SqlRecords, records_url: str, _round: int) -> None:
    release = a_release()
    records.releases.add(release)
    outcomes = at_once(records_url, partial(_move, release))
    assert sorted(map(str, outcomes)) == ["Conflict", "moved"]
    assert len(records.releases.moves(release.digest)) == 1


def _move(release: Release, records: SqlRecords, number: int) -> str:
    to_stage = "staging" if number else "archived"
    records.releases.move(a_move(release, "draft", to_stage))
    return "moved"


def test_one_of_two_rollouts_begins(records: SqlRecords, records_url: str) -> None:
    records.rollouts.add(a_launch())
    outcomes = at_once(records_url, _begin, 4)
    assert sorted(map(str, outcomes)) == ["Conflict"] * 3 + ["began"]
    assert len(records.rollouts.running("support")) == 1


def test_one_of_two_first_releases_serves(records: SqlRecords, records_url: str) -> None:
    outcomes = at_once(records_url, _launch, 4)
    assert sorted(map(str, outcomes)) == ["Conflict"] * 3 + ["launched"]
    assert len(records.rollouts.newest("support")) == 1


def _launch(records: SqlRecords, number: int) -> str:
    records.rollouts.add(a_launch(release=f"sha256:{number}"))
    return "launched"


def test_nobody_begins_with_the_champion_of_a_moment_ago(records: SqlRecords, records_url: str) -> None:
    """One rollout ends by promotion while another begins with the champion from before."""
    records.rollouts.add(a_launch())
    running = a_rollout()
    records.rollouts.add(running)
    outcomes = at_once(records_url, partial(_promote_or_begin, running), 4)
    assert sorted(map(str, outcomes)) == ["Conflict"] * 3 + ["promoted"]
    (last,) = records.rollouts.latest("support")
    assert (last.id, last.serving) == (running.id, "sha256:b")


def _promote_or_begin(rollout: Rollout, records: SqlRecords, number: int) -> str:
    if number:
        records.rollouts.add(a_rollout(challenger="sha256:c"))
        return "began"
    events = (*rollout.events, an_event("promoted"))
    records.rollouts.replace(msgspec.structs.replace(rollout, events=events, state="promoted"), expected_events=1)
    return "promoted"


def _begin(records: SqlRecords, number: int) -> str:
    records.rollouts.add(a_rollout())
    return "began"


def test_one_of_two_controllers_writes(records: SqlRecords, records_url: str) -> None:
    records.rollouts.add(a_launch())
    rollout = a_rollout()
    records.rollouts.add(rollout)
    outcomes = at_once(records_url, partial(_advance, rollout), 3)
    assert sorted(map(str, outcomes)) == ["Conflict", "Conflict", "wrote"]
    assert len(records.rollouts.get(rollout.id).events) == 2


def _advance(rollout: Rollout, records: SqlRecords, number: int) -> str:
    event = an_event("advanced", reason=str(number))
    records.rollouts.replace(msgspec.structs.replace(rollout, events=(*rollout.events, event)), expected_events=1)
    return "wrote"


def test_one_of_two_tables_takes_the_version(records: SqlRecords, records_url: str) -> None:
    outcomes = at_once(records_url, _publish, 3)
    assert sorted(map(str, outcomes)) == ["Conflict", "Conflict", "published"]


def _publish(records: SqlRecords, number: int) -> str:
    records.routes.add_table(a_table(1, created_ms=number))
    return "published"


def test_the_same_release_may_be_added_at_once(records: SqlRecords, records_url: str) -> None:
    assert at_once(records_url, _add_release, 4) == ["added"] * 4
    assert len(records.releases.newest()) == 1


def _add_release(records: SqlRecords, number: int) -> str:
    records.releases.add(a_release())
    return "added"


def test_one_batch_ingested_at_once_is_counted_once(records: SqlRecords, records_url: str) -> None:
    batch = [an_interaction() for _ in range(3000)]
    outcomes = at_once(records_url, partial(_ingest, batch), 4)
    assert sum(map(int, outcomes)) == 3000
    assert records.interactions.count() == 3000
    assert records.interactions.mark("s.jsonl") == 4


def _ingest(batch: list[Interaction], records: SqlRecords, number: int) -> int:
    # Another order in each process: this is what could deadlock.
    ordered = batch if number % 2 else batch[::-1]
    return records.interactions.ingest(ordered, JournalMark(segment="s.jsonl", offset=number + 1))


def test_many_writers_wait_for_their_turn(records: SqlRecords, records_url: str) -> None:
    assert at_once(records_url, _put_many, 4) == [20] * 4
    assert len(records.runs.newest()) == 80


def _put_many(records: SqlRecords, number: int) -> int:
    for _ in range(20):
        records.runs.put(a_run())
    return 20
