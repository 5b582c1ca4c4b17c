"""Old segments go, and only those that are ingested and that no gateway can still write to."""
# ruff: noqa: F811 - a test names the fixtures that are imported here

import os
import time
from pathlib import Path

import msgspec
import pytest

from modelyard.adapters.records.store import SqlRecords
from modelyard.gateway.recording.journal import Journal
from modelyard.workflows.ingest import Ingester
from modelyard.workflows.retention import GOING, Retention
from tests.adapters.records.conftest import records, records_url  # noqa: F401
from tests.adapters.records.values import an_interaction

LONG_AGO_S = time.time() - 9 * 86_400


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def segments(journal: Path) -> list[str]:
    return sorted(path.name for path in journal.iterdir())


def a_closed_segment(journal: Path, *, old: bool = True) -> Path:
    before = set(journal.iterdir()) if journal.exists() else set()
    writer = Journal(journal)
    writer.append(an_interaction())
    writer.close()
    (path,) = set(journal.iterdir()) - before
    if old:
        os.utime(path, (LONG_AGO_S, LONG_AGO_S))
    return path


def remove_old(records: SqlRecords, journal: Path) -> list[str]:
    return Retention(records.interactions, journal, 7).remove_old()


def test_only_what_is_old_and_ingested_goes(records: SqlRecords, journal: Path) -> None:
    old, young = a_closed_segment(journal), a_closed_segment(journal, old=False)
    assert remove_old(records, journal) == [], "nothing is ingested yet"
    ingester = Ingester(records, journal, keep_days=7)
    before = old.stat().st_size + young.stat().st_size
    assert ingester.ingest_once() == 2
    assert segments(journal) == [young.name]
    assert records.interactions.mark(old.name) == 0
    assert records.interactions.ingested() == before
    assert ingester.ingest_once() == 0
    assert records.interactions.count() == 2


@pytest.mark.parametrize(("rest", "goes"), [(b"whole, not ingested\n", False), (b'{"torn', True)])
def test_a_whole_line_that_is_left_keeps_it_and_a_torn_one_does_not(
    records: SqlRecords, journal: Path, rest: bytes, goes: bool
) -> None:
    path = a_closed_segment(journal)
    Ingester(records, journal).ingest_once()
    with path.open("ab") as file:
        file.write(rest)
    os.utime(path, (LONG_AGO_S, LONG_AGO_S))
    assert (remove_old(records, journal) == [path.name]) is goes


def test_a_segment_that_a_gateway_holds_stays_however_old(records: SqlRecords, journal: Path) -> None:
    writer = Journal(journal)
    writer.append(an_interaction())
    (path,) = journal.iterdir()
    Ingester(records, journal).ingest_once()
    os.utime(path, (LONG_AGO_S, LONG_AGO_S))
    assert remove_old(records, journal) == []
    writer.append(an_interaction())
    assert Ingester(records, journal).ingest_once() == 1
    writer.close()
    os.utime(path, (LONG_AGO_S, LONG_AGO_S))
    assert remove_old(records, journal) == [path.name]


def test_a_killed_removal_is_finished_by_the_next(records: SqlRecords, journal: Path) -> None:
    path = a_closed_segment(journal)
    Ingester(records, journal).ingest_once()
    path.rename(path.with_name(path.name + GOING))
    assert remove_old(records, journal) == [path.name]
    assert segments(journal) == []
    assert records.interactions.mark(path.name) == 0


def test_days_of_nought_keep_everything(records: SqlRecords, journal: Path) -> None:
    path = a_closed_segment(journal)
    Ingester(records, journal, keep_days=0).ingest_once()
    assert path.exists()


def test_a_forked_process_writes_to_segments_of_its_own(journal: Path) -> None:
    writer = Journal(journal)
    writer.append(an_interaction(id="parent-1"))
    child = os.fork()
    if child == 0:
        writer.append(an_interaction(id="child"))
        writer.close()
        os._exit(0)
    os.waitpid(child, 0)
    writer.append(an_interaction(id="parent-2"))
    writer.close()
    read = [[msgspec.json.decode(line)["id"] for line in path.read_bytes().splitlines()] for path in journal.iterdir()]
    assert sorted(read) == [["child"], ["parent-1", "parent-2"]]
