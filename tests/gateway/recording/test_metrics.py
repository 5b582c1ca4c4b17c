"""What is counted is what a Prometheus parser reads, of one worker and of several."""

import os
import time
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from modelyard.gateway.recording import snapshots
from modelyard.gateway.recording.exposition import PREFIX, State, merged, pieces, render
from modelyard.gateway.recording.journal import Journal
from modelyard.gateway.recording.metrics import Metrics
from modelyard.gateway.recording.snapshots import Snapshots
from modelyard.gateway.table import TableFile
from modelyard.gateway.upstream import Pool
from modelyard.ports.interaction import Interaction
from tests.gateway.recording.test_journal import entry

CHAMPION = {"service": "support", "role": "champion", "release": "champ@1"}


def an_interaction(**fields: Any) -> Interaction:
    values: dict[str, Any] = {
        "id": "i", "at_ms": 1, "service": "support", "tenant": "acme", "key_id": "k", "unit": "u",
        "release": "sha256:a", "role": "champion", "propensity": 1.0, "table_version": 1,
        "prompt_tokens": 10, "completion_tokens": 4,
        "cost_nanousd": 7, "latency_ms": 30.0,
    }  # fmt: skip
    return Interaction(**values | fields)


def read(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample, by its name without the prefix and its labels."""
    samples = [sample for family in text_string_to_metric_families(text.decode()) for sample in family.samples]
    found = {(one.name.removeprefix(PREFIX), labels(**one.labels)): one.value for one in samples}
    assert len(found) == len(samples), "a sample came twice"
    return found


def labels(**given: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(given.items()))


def text_of(metrics: Metrics, folder: Path) -> bytes:
    return metrics.render(TableFile(folder / "routes.json", Pool()), Journal(folder / "journal"), 0)


def test_a_parser_reads_back_what_was_counted(tmp_path: Path) -> None:
    metrics = Metrics()
    for status, latency_ms in ((200, 30.0), (200, 7.0), (503, 400_000.0)):
        metrics.count(an_interaction(status=status, latency_ms=latency_ms, first_token_ms=6.0), "champ@1")
    metrics.fallbacks["support", "old", "upstream_500"] += 2
    metrics.overhead_first_us.observe(35)
    metrics.overhead_read_us.observe(99_999)
    metrics.gauge("waiting", "In line.", "service", provider=lambda: [(("support",), 4)])
    metrics.refused[429, "rate_limit_exceeded"] += 1
    found = read(text_of(metrics, tmp_path))
    assert found["requests_total", labels(**CHAMPION, status="200")] == 2
    assert found["errors_total", labels(**CHAMPION)] == 1
    assert found["cost_nanousd_total", labels(**CHAMPION)] == 21
    assert found["latency_seconds_bucket", labels(**CHAMPION, le="0.01")] == 1
    assert found["latency_seconds_bucket", labels(**CHAMPION, le="120")] == 2
    assert found["latency_seconds_bucket", labels(**CHAMPION, le="+Inf")] == 3
    assert found["latency_seconds_count", labels(**CHAMPION)] == 3
    assert abs(found["latency_seconds_sum", labels(**CHAMPION)] - 400.037) < 1e-6
    assert found["fallbacks_total", labels(service="support", variant="old", code="upstream_500")] == 2
    assert found["overhead_microseconds_bucket", labels(le="40")] == 1
    assert found["read_overhead_microseconds_bucket", labels(le="10000")] == 0
    assert found["waiting", labels(service="support")] == 4
    assert found["refused_total", labels(status="429", code="rate_limit_exceeded")] == 1
    assert found["journal_lag_seconds", ()] == 0


def test_strange_names_come_back_as_they_are(tmp_path: Path) -> None:
    metrics = Metrics()
    name = 'a"b\\c\nd\\n,{}é'
    metrics.count(an_interaction(service=name), "champ@1")
    assert read(text_of(metrics, tmp_path))["errors_total", labels(**{**CHAMPION, "service": name})] == 0


def test_costs_larger_than_a_float_stay_whole(tmp_path: Path) -> None:
    metrics = Metrics()
    for cost in (2**60, 1):
        metrics.count(an_interaction(cost_nanousd=cost), "champ@1")
    assert f" {2**60 + 1}\n".encode() in text_of(metrics, tmp_path)


def test_workers_are_added_and_one_that_ended_keeps_its_counts(tmp_path: Path) -> None:
    table, journal = TableFile(tmp_path / "routes.json", Pool()), Journal(tmp_path / "journal")
    workers = [(Metrics(), Snapshots(tmp_path / "workers")) for _ in range(3)]
    for number, (metrics, mine) in enumerate(workers):
        metrics.count(an_interaction(), "champ@1")
        metrics.overhead_first_us.observe(15)
        metrics.in_flight["support"] = 10**number
        metrics.gauge("oldest", "Age.", provider=lambda number=number: [((), number)], worst=True)  # type: ignore[misc]
        mine.write(metrics.state(table, journal, 0))
    os.utime(workers[1][1]._path, (time.time() - 60, time.time() - 60))
    (tmp_path / "workers" / "torn.json").write_bytes(b"[[[")
    metrics, mine = workers[0]
    found = read(metrics.render(table, journal, 0, mine.others()))
    assert found["requests_total", labels(**CHAMPION, status="200")] == 3
    assert found["overhead_microseconds_count", ()] == 3
    assert found["in_flight", labels(service="support")] == 101
    assert found["oldest", ()] == 2
    snapshots.clear(tmp_path / "workers")
    assert list(mine.others()) == []


def test_a_large_text_comes_in_small_pieces(tmp_path: Path) -> None:
    metrics = Metrics()
    for number in range(300):
        metrics.count(an_interaction(service=f"s{number}"), "champ@1")
    state = metrics.state(TableFile(tmp_path / "t", Pool()), Journal(tmp_path / "j"), 0)
    found = list(pieces(state))
    assert b"".join(found) == render(state)
    assert len(found) > 20
    assert max(piece.count(b"\n") for piece in found) <= 256
    assert len(read(render(state))) > 300 * 16


def test_a_state_survives_being_written(tmp_path: Path) -> None:
    metrics = Metrics()
    metrics.count(an_interaction(cost_nanousd=2**60 + 1), "champ@1")
    state = metrics.state(TableFile(tmp_path / "t", Pool()), Journal(tmp_path / "j"), 3)
    back = msgspec.json.decode(msgspec.json.encode(state), type=State)
    assert render(back) == render(state)
    assert render(merged([state])) == render(state)


def test_the_journal_tells_how_long_entries_wait(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file where the folder should be")
    journal = Journal(tmp_path / "journal")
    journal.append(entry(1))
    time.sleep(0.01)
    assert journal.lag_s >= 0.01
    (tmp_path / "journal").unlink()
    journal.retry()
    assert (journal.lag_s, journal.num_entries, journal.backlog) == (0.0, 1, 0)
    assert journal.num_bytes == sum(path.stat().st_size for path in (tmp_path / "journal").iterdir())
    journal.close()
