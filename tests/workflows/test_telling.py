"""What was ingested is told at least once, though the collector is killed; never before it was ingested."""
# ruff: noqa: F811 - a test names the fixtures that are imported here

import threading
from pathlib import Path

import pytest

from modelyard.adapters.records.store import SqlRecords
from modelyard.adapters.telemetry.otlp import OtlpTelemetry
from modelyard.core.clock import now_ms
from modelyard.core.errors import Unavailable
from modelyard.gateway.recording.journal import Journal
from modelyard.project.model import Project
from modelyard.workflows.control import Control
from modelyard.workflows.ingest import Ingester
from modelyard.workflows.telling import Teller
from modelyard.workflows.tools import Tools
from tests.adapters.records.conftest import records, records_url  # noqa: F401
from tests.adapters.records.values import a_feedback, an_interaction
from tests.adapters.telemetry.collector import Collector
from tests.adapters.telemetry.conftest import collector  # noqa: F401
from tests.gateway.harness import eventually


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def a_teller(records: SqlRecords, journal: Path) -> Teller:
    return Teller(records, journal, OtlpTelemetry(service_name="shop"))


def told_ids(collector: Collector) -> list[str]:
    return [one.value.string_value for s in collector.spans for one in s.attributes if one.key == "gen_ai.response.id"]


def test_only_what_was_ingested_is_told_and_once(records: SqlRecords, journal: Path, collector: Collector) -> None:
    writer, teller = Journal(journal), a_teller(records, journal)
    said = an_interaction(at_ms=now_ms(), trace_id="ab" * 16)
    writer.append(said)
    assert teller.tell_once() == 0
    Ingester(records, journal).ingest_once()
    writer.append(a_feedback(said.id, score=1.0, at_ms=now_ms()))
    assert teller.tell_once() == 1
    assert teller.tell_once() == 0
    Ingester(records, journal).ingest_once()
    assert teller.tell_once() == 1
    assert told_ids(collector) == [said.id]
    assert collector.events[0].span_id == collector.spans[0].span_id, "the answer was found in the records"
    assert a_teller(records, journal).tell_once() == 0, "the next process knows"
    writer.close()


def test_what_is_older_than_a_day_is_passed_over(records: SqlRecords, journal: Path, collector: Collector) -> None:
    writer = Journal(journal)
    young = an_interaction(at_ms=now_ms())
    for one in (an_interaction(at_ms=now_ms() - 2 * 86_400_000), young):
        writer.append(one)
    writer.close()
    Ingester(records, journal).ingest_once()
    assert a_teller(records, journal).tell_once() == 1
    assert told_ids(collector) == [young.id]


def test_a_collector_killed_in_the_middle_misses_nothing(
    records: SqlRecords, journal: Path, collector: Collector
) -> None:
    """Ingestion goes on meanwhile, and the teller is another process each time."""
    writer, ingester, teller = Journal(journal), Ingester(records, journal), a_teller(records, journal)
    ids = []

    def write(count: int) -> None:
        for _ in range(count):
            ids.append(an_interaction(at_ms=now_ms()).id)
            writer.append(an_interaction(id=ids[-1], at_ms=now_ms()))
        assert ingester.ingest_once() == count

    write(450)
    teller.tell_once()
    collector.stop()
    write(30)
    with pytest.raises(Unavailable, match="collector"):
        teller.tell_once()
    write(20)
    collector.start()
    assert a_teller(records, journal).tell_once() == 50
    assert sorted(told_ids(collector)) == sorted(ids)
    assert sum(point.count for point in collector.points("gen_ai.client.operation.duration")) == 500
    writer.close()


def test_a_stop_is_not_held_up_by_a_dead_collector(records: SqlRecords, journal: Path, collector: Collector) -> None:
    writer, teller, stop = Journal(journal), a_teller(records, journal), threading.Event()
    writer.append(an_interaction(at_ms=now_ms()))
    Ingester(records, journal).ingest_once()
    collector.stop()
    thread = threading.Thread(target=teller.run, args=(stop, 0.01))
    thread.start()
    collector.start()
    eventually(lambda: collector.spans)
    collector.stop()
    writer.append(an_interaction(at_ms=now_ms()))
    Ingester(records, journal).ingest_once()
    stop.set()
    teller.close()
    thread.join(5)
    assert not thread.is_alive()
    collector.start()
    writer.close()


def test_the_control_loop_tells_while_it_runs_and_ends_though_the_collector_is_dead(
    tools: Tools, project: Project, collector: Collector
) -> None:
    writer = Journal(tools.state / "journal")
    control = Control(
        tools,
        project,
        lambda: pytest.fail("no release is to be loaded"),
        "http://127.0.0.1:1",
        journal=tools.state / "journal",
        table_file=tools.state / "routes.json",
        telemetry=OtlpTelemetry(service_name="shop"),
    )
    stop = threading.Event()
    thread = threading.Thread(target=control.run, args=(stop, 0.02))
    thread.start()
    said = an_interaction(at_ms=now_ms())
    writer.append(said)
    eventually(lambda: told_ids(collector) == [said.id])
    collector.stop()
    writer.append(an_interaction(at_ms=now_ms()))
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    assert tools.records.interactions.count() == 2
    collector.start()
    writer.close()
