import msgspec
import pytest

from modelyard.adapters.records.store import SqlRecords
from modelyard.core.errors import Conflict, InvalidInput, NotFound
from tests.adapters.records.values import NOW_MS, a_run


def test_a_run_is_replaced_while_it_runs_and_when_it_ends(records: SqlRecords) -> None:
    run = a_run()
    records.runs.put(run)
    halfway = msgspec.structs.replace(run, metrics={"loss": 1.5})
    records.runs.put(halfway)
    assert records.runs.get(run.id) == halfway
    done = msgspec.structs.replace(halfway, state="finished", finished_ms=NOW_MS + 9, artifacts={"adapter": "sha256:a"})
    records.runs.put(done)
    assert records.runs.get(run.id) == done


def test_a_finished_run_never_changes(records: SqlRecords) -> None:
    run = a_run(state="finished")
    records.runs.put(run)
    records.runs.put(run)
    with pytest.raises(Conflict, match="has finished"):
        records.runs.put(msgspec.structs.replace(run, owner="mallory"))
    with pytest.raises(Conflict):
        records.runs.put(msgspec.structs.replace(run, state="running"))
    assert records.runs.get(run.id) == run


def test_a_failed_run_may_be_tried_again(records: SqlRecords) -> None:
    run = a_run(state="failed", error="out of memory")
    records.runs.put(run)
    again = msgspec.structs.replace(run, state="running", error="")
    records.runs.put(again)
    assert records.runs.get(run.id) == again


def test_find_by_id_or_by_name(records: SqlRecords) -> None:
    old, new = a_run(), a_run(started_ms=NOW_MS + 1)
    records.runs.put(new)
    records.runs.put(old)
    assert records.runs.find("support-lora") == new
    assert records.runs.find(old.id) == old
    assert records.runs.newest() == [new, old]


def test_an_unknown_run_is_not_found(records: SqlRecords) -> None:
    records.runs.put(a_run())
    with pytest.raises(NotFound):
        records.runs.get("absent")
    with pytest.raises(NotFound, match="did you mean support-lora"):
        records.runs.find("support-lorra")


def test_a_metric_that_is_no_number_is_refused(records: SqlRecords) -> None:
    with pytest.raises(InvalidInput):
        records.runs.put(a_run(metrics={"loss": float("nan")}))
    assert records.runs.newest() == []
