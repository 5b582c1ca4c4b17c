"""Every entry of the journal reaches the records once: damaged, torn, killed, run twice, on both databases."""
# ruff: noqa: F811 - a test names the fixtures that are imported here

import json
import logging
import multiprocessing
import os
import random
import signal
import threading
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.adapters.records.store import SqlRecords, open_records
from modelyard.core.errors import Unavailable
from modelyard.core.ids import new_id
from modelyard.ports.interaction import JournalEntry
from modelyard.ports.records import JournalMark
from modelyard.workflows import ingest
from modelyard.workflows.ingest import Ingester
from tests.adapters.records.conftest import records, records_url  # noqa: F401
from tests.adapters.records.values import a_feedback, an_interaction

_processes = multiprocessing.get_context("fork")


def a_line(entry: JournalEntry | None = None) -> bytes:
    return msgspec.json.encode(entry or an_interaction()) + b"\n"


def a_segment(journal: Path, *lines: bytes, number: int = 1) -> Path:
    """A segment as a gateway leaves it."""
    journal.mkdir(exist_ok=True)
    path = journal / f"{new_id()}-{number:06d}.jsonl"
    path.write_bytes(b"".join(lines))
    return path


def rejected(journal: Path) -> list[dict[str, object]]:
    path = journal / ingest.REJECTED
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def ingester(records: SqlRecords, journal: Path) -> Ingester:
    return Ingester(records, journal)


def test_there_may_be_nothing_yet(ingester: Ingester, journal: Path) -> None:
    assert ingester.ingest_once() == 0
    a_segment(journal)
    assert ingester.ingest_once() == 0


def test_entries_are_ingested_once(ingester: Ingester, records: SqlRecords, journal: Path) -> None:
    said = an_interaction()
    judged = a_feedback(said.id, score=1.0)
    segment = a_segment(journal, a_line(said), a_line(judged))
    assert ingester.ingest_once() == 2
    assert ingester.ingest_once() == 0
    assert records.interactions.get(said.id) == said
    assert records.interactions.feedback(said.id) == [judged]
    assert records.interactions.mark(segment.name) == segment.stat().st_size
    assert Ingester(records, journal).ingest_once() == 0, "the next process knows"


def test_it_goes_on_where_it_was(ingester: Ingester, records: SqlRecords, journal: Path) -> None:
    first = a_segment(journal, a_line())
    assert ingester.ingest_once() == 1
    with first.open("ab") as file:
        file.write(a_line() + a_line())
    a_segment(journal, a_line(), number=2)
    assert ingester.ingest_once() == 3
    assert records.interactions.count() == 4


def test_an_entry_in_two_segments_is_counted_once(ingester: Ingester, journal: Path) -> None:
    twice = a_line()
    a_segment(journal, twice)
    a_segment(journal, twice, a_line())
    assert ingester.ingest_once() == 2


def test_many_batches(ingester: Ingester, records: SqlRecords, journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "_BATCH_LINES", 7)
    a_segment(journal, *(a_line() for _ in range(50)))
    assert ingester.ingest_once() == 50
    monkeypatch.setattr(ingest, "_BATCH_BYTES", 1500)
    a_segment(journal, *(a_line() for _ in range(50)))
    assert ingester.ingest_once() == 50


def test_a_torn_last_line_waits_for_its_end(ingester: Ingester, records: SqlRecords, journal: Path) -> None:
    line = a_line()
    segment = a_segment(journal, a_line(), line[:40])
    assert ingester.ingest_once() == 1
    assert ingester.ingest_once() == 0
    with segment.open("ab") as file:
        file.write(line[40:])
    assert ingester.ingest_once() == 1
    assert rejected(journal) == []


_DAMAGES = {
    "no JSON": b"nonsense\n",
    "cut": a_line()[:50] + b"\n",
    "nothing": b"\n",
    "zeros": b"\x00" * 30 + b"\n",
    "not UTF-8": a_line().replace(b"support", b"supp\xff\xfe"),
    "another kind": b'{"kind":"prophecy","id":"x"}\n',
    "a list": b"[1, 2]\n",
    "a field is missing": b'{"kind":"interaction","id":"x"}\n',
    "a field has another type": a_line().replace(b'"at_ms":1750000000000', b'"at_ms":"now"'),
    "a number too large": a_line().replace(b'"at_ms":1750000000000', b'"at_ms":9223372036854775808'),
    "a number of many digits": a_line().replace(b'"at_ms":1750000000000', b'"at_ms":' + b"9" * 30),
    "half a character": a_line().replace(b"support", b"\\ud800"),
    "a deep nest": a_line()[:-2] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
}


@pytest.mark.parametrize("damage", _DAMAGES)
def test_a_damaged_line_is_set_aside_and_blocks_nothing(
    ingester: Ingester, records: SqlRecords, journal: Path, damage: str
) -> None:
    before, after = a_line(), a_line()
    segment = a_segment(journal, before, _DAMAGES[damage], after, a_line())
    assert ingester.ingest_once() == 3
    assert records.interactions.mark(segment.name) == segment.stat().st_size
    (line,) = rejected(journal)
    assert line["segment"] == segment.name
    assert line["offset"] == len(before)
    assert line["reason"]
    assert ingester.ingest_once() == 0
    assert Ingester(records, journal).ingest_once() == 0
    assert len(rejected(journal)) == 1


def test_a_value_that_one_database_cannot_hold(
    ingester: Ingester, records: SqlRecords, records_url: str, journal: Path
) -> None:
    a_segment(journal, a_line(), a_line(an_interaction(service="a\x00b")), b"nonsense\n", a_line())
    holds_it = records_url.startswith("sqlite")
    assert ingester.ingest_once() == (3 if holds_it else 2)
    assert len(rejected(journal)) == (1 if holds_it else 2)
    offsets = [line["offset"] for line in rejected(journal)]
    assert offsets == sorted(offsets)


def test_a_line_is_set_aside_once_though_killed_before_the_mark_moves(
    records: SqlRecords, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = a_segment(journal, b"first\n", a_line(), b"second\n")

    def killed(entries: object, mark: JournalMark) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(records.interactions, "ingest", _then(records.interactions.ingest, killed))
    with pytest.raises(KeyboardInterrupt):
        Ingester(records, journal).ingest_once()
    monkeypatch.undo()
    assert len(rejected(journal)) == 2
    assert records.interactions.mark(segment.name) == 0
    Ingester(records, journal).ingest_once()
    assert [line["line"] for line in rejected(journal)] == ["first", "second"]
    assert records.interactions.mark(segment.name) == segment.stat().st_size


def _then(first: object, second: object) -> object:
    calls = [first, second]
    return lambda *arguments: calls.pop(0)(*arguments)


def test_a_torn_line_among_the_rejected_is_written_anew(ingester: Ingester, journal: Path) -> None:
    a_segment(journal, b"first\n")
    ingester.ingest_once()
    path = journal / ingest.REJECTED
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    a_segment(journal, b"second\n")
    ingester.ingest_once()
    assert [line["line"] for line in rejected(journal)] == ["first", "second"]


def test_an_edited_file_of_rejected_lines_does_not_stop_it(ingester: Ingester, journal: Path) -> None:
    a_segment(journal, b"first\n")
    (journal / ingest.REJECTED).write_text("a note of mine\n")
    assert ingester.ingest_once() == 0
    assert len((journal / ingest.REJECTED).read_text().splitlines()) == 2


def test_a_segment_that_cannot_be_read_does_not_stop_the_others(
    ingester: Ingester, journal: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal.mkdir()
    (journal / f"{new_id()}-000001.jsonl").mkdir()
    a_segment(journal, a_line())
    with caplog.at_level(logging.ERROR):
        assert ingester.ingest_once() == 1
    assert "cannot be read" in caplog.text


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_mix_read_in_any_pieces(records: SqlRecords, tmp_path: Path, data: st.DataObject) -> None:
    journal = tmp_path / new_id()
    lines = data.draw(st.lists(st.one_of(st.builds(a_line), _junk), max_size=12))
    content = b"".join(lines)
    segment = a_segment(journal)
    cuts = [*sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=5))), len(content)]
    num_new = 0
    for cut in cuts:
        segment.write_bytes(content[:cut])
        num_new += Ingester(records, journal).ingest_once()
    assert num_new == sum(line.startswith(b'{"kind"') for line in lines)
    assert len(rejected(journal)) == sum(not line.startswith(b'{"kind"') for line in lines)
    assert records.interactions.mark(segment.name) == len(content)


_junk = st.binary(max_size=20).map(lambda data: b"!" + data.replace(b"\n", b"") + b"\n")


class TestRun:
    def test_it_ends_when_told_and_takes_the_rest_along(
        self, ingester: Ingester, records: SqlRecords, journal: Path
    ) -> None:
        stop = threading.Event()
        thread = threading.Thread(target=ingester.run, args=(stop, 0.01))
        thread.start()
        for _ in range(20):
            a_segment(journal, a_line())
        stop.set()
        thread.join(30)
        assert not thread.is_alive()
        assert records.interactions.count() == 20

    def test_it_outlives_records_that_do_not_answer(
        self, ingester: Ingester, records: SqlRecords, journal: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stop, tried = threading.Event(), threading.Event()

        def down(*_: object) -> int:
            tried.set()
            raise Unavailable("the records do not answer")

        a_segment(journal, a_line())
        with monkeypatch.context() as patch:
            patch.setattr(records.interactions, "ingest", down)
            thread = threading.Thread(target=ingester.run, args=(stop, 0.01))
            thread.start()
            assert tried.wait(30)
        stop.set()
        thread.join(30)
        assert records.interactions.count() == 1


def test_killed_again_and_again_while_a_gateway_writes(records: SqlRecords, records_url: str, journal: Path) -> None:
    """Two ingesters at once, each killed at random moments; every entry and every damaged line arrives once."""
    chance = random.Random(7)
    written: list[str] = []
    num_junk = 0
    victims: list[multiprocessing.process.BaseProcess] = []
    segment = a_segment(journal)
    deadline_s = time.monotonic() + 6
    num_kills = 0
    while time.monotonic() < deadline_s or num_kills < 10:
        with segment.open("ab", buffering=0) as file:
            for _ in range(chance.randrange(60)):
                said = an_interaction()
                line = a_line(said) if chance.random() > 0.02 else b"damaged %d\n" % num_junk
                num_junk += line.startswith(b"damaged")
                written += [] if line.startswith(b"damaged") else [said.id]
                cut = chance.randrange(len(line))
                os.write(file.fileno(), line[:cut])
                os.write(file.fileno(), line[cut:])
        if chance.random() < 0.1:
            segment = a_segment(journal)
        if len(victims) < 2:
            victims.append(_processes.Process(target=_ingest_forever, args=(records_url, journal)))
            victims[-1].start()
        time.sleep(chance.random() * 0.1)
        if chance.random() < 0.3:
            _kill(victims.pop(0))
            num_kills += 1
    for victim in victims:
        _kill(victim)
    assert records.interactions.count() <= len(written)
    num_left = Ingester(records, journal).ingest_once()
    assert num_left < len(written), "the victims did nothing: the test tests nothing"
    assert records.interactions.count() == len(written)
    assert {records.interactions.get(id).id for id in written} == set(written)
    assert sorted(str(line["line"]) for line in rejected(journal)) == sorted(f"damaged {n}" for n in range(num_junk))


def _ingest_forever(url: str, journal: Path) -> None:
    ingest._BATCH_LINES = 20
    ingester = Ingester(open_records(url), journal)
    while True:
        ingester.ingest_once()


def _kill(victim: multiprocessing.process.BaseProcess) -> None:
    if victim.pid is not None:
        os.kill(victim.pid, signal.SIGKILL)
    victim.join()
