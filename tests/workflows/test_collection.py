"""Datasets from production, on both databases: who is collected, what is kept of them, and what lies on the disk."""
# ruff: noqa: F811 - a test names the fixtures that are imported here

import dataclasses
import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from modelyard.adapters.compute.pool import ProcessWorkers
from modelyard.adapters.records.store import SqlRecords, open_records
from modelyard.core.clock import iso, now_ms
from modelyard.core.digests import digest_text
from modelyard.core.errors import DataInvalid, NotFound
from modelyard.core.ids import new_id
from modelyard.datasets import preparation
from modelyard.datasets.collection import stream
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.report.reading import read_quarantine, read_report
from modelyard.ports.dataset import Dataset, Example, Window
from modelyard.ports.interaction import Feedback, Interaction, JournalEntry
from modelyard.ports.records import JournalMark
from modelyard.workflows import datasets as workflow
from modelyard.workflows.collection import Collection
from modelyard.workflows.datasets import examples_of, prepare_dataset
from modelyard.workflows.folders import folder_of
from modelyard.workflows.tools import Tools
from tests.adapters.records.conftest import records, records_url  # noqa: F401
from tests.adapters.records.values import a_feedback, a_release
from tests.workflows.traffic import BEGIN_MS, SECRET, asked

WINDOW = {"since": iso(BEGIN_MS), "until": iso(BEGIN_MS + 1000)}


@pytest.fixture
def yard(tools: Tools, records: SqlRecords) -> Tools:
    """A project on either database."""
    return dataclasses.replace(tools, records=records)


def record(yard: Tools, *entries: JournalEntry) -> None:
    yard.records.interactions.ingest(entries, JournalMark(segment=new_id(), offset=1))


def config(*, splits: Any = None, exclude: Any = None, **collect: Any) -> DatasetConfig:
    asked = {"service": "support", "tenants": ["acme"], **WINDOW, **collect}
    return DatasetConfig(collect=asked, splits=splits or {"train": 1.0}, exclude=exclude)


def prepare(yard: Tools, name: str = "traffic", **settings: Any) -> Dataset:
    return prepare_dataset(yard, name, config(**settings))


def rows(yard: Tools, dataset: Dataset) -> list[Example]:
    return [example for split in dataset.rows for example in examples_of(yard, dataset, split)]


def passed_over(dataset: Dataset) -> dict[str, int]:
    step = dataset.steps[0]
    assert step["step"] == "collecting"
    causes: dict[str, int] = step["causes"]
    return causes


def files_with(folder: Path, text: str) -> list[str]:
    """The files, but for the records, that hold a text in the clear."""
    found = [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]
    return sorted(path.name for path in found if not path.name.startswith("records.db"))


def test_traffic_becomes_a_masked_dataset_with_its_provenance(yard: Tools) -> None:
    said = [asked(number, release="sha256:r", propensity=0.75) for number in range(30)]
    record(yard, *said, a_feedback(said[3].id, score=0.9))
    dataset = prepare(yard)
    assert sum(dataset.rows.values()) == 30
    found = {example.id: example for example in rows(yard, dataset)}
    example = found[said[3].id]
    assert example.answer == said[3].answer.replace(SECRET, "[EMAIL]")
    assert "[EMAIL]" in example.prompt[0].content
    assert json.loads(example.meta) == {
        "at": iso(said[3].at_ms), "tenant": "acme", "release": "sha256:r", "role": "champion", "propensity": 0.75,
        "score": 0.9,
    }  # fmt: skip


def test_the_rows_of_a_user_lie_in_one_split(yard: Tools) -> None:
    said = [asked(number) for number in range(40)]
    record(yard, *said)
    dataset = prepare(yard, splits={"train": 0.5, "test": 0.5})
    unit_of = {one.id: one.unit for one in said}
    units = [{unit_of[example.id] for example in examples_of(yard, dataset, split)} for split in ("train", "test")]
    assert units[0] | units[1] == set(unit_of.values())
    assert not units[0] & units[1]


def test_the_parent_is_the_window_and_the_configuration_names_it_by_its_moments(yard: Tools) -> None:
    record(yard, *(asked(number) for number in range(12)))
    dataset = prepare(yard, since="2020-01-01", until=None)
    (parent,) = dataset.sources
    assert parent.path == "production:support"
    assert parent.window is not None
    until_ms = parent.window.until_ms
    assert parent.window == Window(
        service="support", since_ms=1_577_836_800_000, until_ms=until_ms, num_interactions=12
    )
    assert BEGIN_MS < until_ms <= now_ms()
    collect = dataset.config["collect"]
    assert (collect["since"], collect["until"]) == ("2020-01-01T00:00:00.000Z", iso(until_ms))
    assert "production:support, 12 from 2020-01-01T00:00:00.000Z to " in parent.title
    assert prepare_dataset(yard, "traffic", DatasetConfig.model_validate(dataset.config)) == dataset
    report = read_report(folder_of(yard, dataset))
    assert report["sources"][0]["window"]["num_interactions"] == report["rows_read"] == 12
    assert report["steps"][0]["step"] == "collecting"


def test_a_closed_window_is_one_dataset_and_a_moving_one_a_new_one_each_time(yard: Tools) -> None:
    record(yard, *(asked(number) for number in range(12)))
    closed = prepare(yard)
    record(yard, asked(12, at_ms=BEGIN_MS + 1000), asked(13, at_ms=BEGIN_MS - 1), asked(14, service="sales"))
    assert prepare(yard) == closed
    moving = [prepare(yard, since="5000w", until=None) for _ in range(2)]
    assert moving[0].digest != moving[1].digest
    record(yard, asked(15))
    assert prepare(yard).digest != closed.digest


def test_the_parent_covers_the_rows_that_later_steps_drop_too(yard: Tools) -> None:
    record(yard, *(asked(number) for number in range(5)))
    before = prepare(yard)
    record(yard, asked(9, request='{"messages": []}'))
    after = prepare(yard)
    assert {one.id for one in rows(yard, after)} == {one.id for one in rows(yard, before)}
    assert after.sources[0].digest != before.sources[0].digest
    assert after.digest != before.digest


@pytest.mark.slow
def test_any_number_of_workers_makes_the_same_dataset(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tools, *(asked(number) for number in range(40)))
    alone = prepare(tools)
    monkeypatch.setattr(preparation, "_WORTH_WORKERS_BYTES", 0)
    monkeypatch.setattr(stream, "BLOCK_BYTES", 2000)
    together = prepare(dataclasses.replace(tools, workers=ProcessWorkers(2)))
    assert (together.digest, rows(tools, together)) == (alone.digest, rows(tools, alone))


def test_the_window_holds_its_first_moment_and_not_its_last(yard: Tools) -> None:
    edges = {BEGIN_MS - 1: "before", BEGIN_MS: "first", BEGIN_MS + 999: "last", BEGIN_MS + 1000: "after"}
    record(yard, *(asked(number, at_ms=at_ms, id=name) for number, (at_ms, name) in enumerate(edges.items())))
    assert {example.id for example in rows(yard, prepare(yard))} == {"first", "last"}


def test_nobody_is_collected_without_being_named(yard: Tools) -> None:
    record(yard, *(asked(number, tenant=["acme", "globex", "acme-2"][number % 3]) for number in range(30)))
    dataset = prepare(yard)
    assert {json.loads(example.meta)["tenant"] for example in rows(yard, dataset)} == {"acme"}
    assert (sum(dataset.rows.values()), passed_over(dataset)) == (10, {"no consent of the tenant": 20})
    assert list(read_quarantine(folder_of(yard, dataset))) == []
    assert sum(prepare(yard, tenants="all").rows.values()) == 30


def test_what_is_passed_over_is_counted_by_its_reason(yard: Tools) -> None:
    good = [asked(number) for number in range(10)]
    bad = [
        asked(20, role="shadow"), asked(21, request="", answer=""), asked(22, status=500), asked(23, status=503),
        asked(24, finish_reason="length"), asked(25, tenant="globex"),
    ]  # fmt: skip
    record(yard, *good, *bad)
    counts = {
        "answer of a shadow": 1, "no text recorded": 1, "failed": 2, "cut short": 1, "no consent of the tenant": 1,
    }  # fmt: skip
    survey = Collection(yard.records, _collect()).survey()
    assert (survey.window.num_interactions, survey.passed_over) == (10, counts)
    assert next(iter(survey.passed_over)) == "failed"
    dataset = prepare(yard)
    assert passed_over(dataset) == counts
    assert dataset.steps[0]["rows_in"] == 16
    assert dataset.steps[1]["rows_in"] == 10


def _collect(**collect: Any) -> Any:
    return config(**collect).collect


@pytest.mark.parametrize("limits", [{"sample": 0.4}, {"max_rows": 12}, {"max_per_unit": 4}])
def test_samples_and_limits_are_the_same_every_time_and_in_order_of_time(yard: Tools, limits: dict[str, Any]) -> None:
    record(yard, *(asked(number, id=f"answer-{number}") for number in range(60)))
    dataset = prepare(yard, **limits)
    assert 0 < sum(dataset.rows.values()) < 60
    assert sum(passed_over(dataset).values()) + sum(dataset.rows.values()) == 60
    lines = [example.id for example in sorted(rows(yard, dataset), key=lambda example: example.line)]
    assert lines == sorted(lines, key=lambda id: int(id.partition("-")[2]))
    assert prepare(yard, **limits) == dataset
    survey = Collection(yard.records, _collect(**limits)).survey()
    assert (survey.window.num_interactions, survey.passed_over) == (len(lines), passed_over(dataset))


def test_rows_that_are_there_already_are_not_taken_again(yard: Tools) -> None:
    record(yard, *(asked(number) for number in range(10)))
    prepare(yard, "first", until=iso(BEGIN_MS + 6))
    second = prepare(yard, "second", exclude={"against": ["first"]})
    step = next(step for step in second.steps if step["step"] == "exclusion")
    assert (step["dropped"], sum(second.rows.values())) == (6, 4)


def test_a_release_is_named_as_everywhere_and_kept_by_its_digest(yard: Tools) -> None:
    release = a_release()
    yard.records.releases.add(release)
    record(yard, *(asked(number, release=[release.digest, "sha256:other"][number % 2]) for number in range(10)))
    dataset = prepare(yard, releases=[release.ref])
    assert dataset.config["collect"]["releases"] == [release.digest]
    assert (sum(dataset.rows.values()), passed_over(dataset)) == (5, {"another release": 5})
    with pytest.raises(NotFound):
        prepare(yard, releases=["support@ffffffffffff"])


@pytest.mark.parametrize(
    ("entries", "seen", "fix"),
    [
        ([], "there are no interactions of the service 'support'", "widen `collect.since`"),
        ([asked(1, request="", answer="")], "1 no text recorded", "set `record: full`"),
        ([asked(1, tenant="globex")], "1 no consent of the tenant", "collect.tenants"),
        ([asked(1, role="shadow")], "1 answer of a shadow", "widen `collect`"),
    ],
)
def test_nothing_to_collect_says_why_and_what_to_do(
    yard: Tools, entries: list[Interaction], seen: str, fix: str
) -> None:
    record(yard, *entries)
    with pytest.raises(DataInvalid, match=seen) as error:
        prepare(yard)
    assert fix in error.value.fix
    assert yard.records.datasets.newest() == []


@pytest.mark.parametrize(
    "window", [{"since": "2026-11-20", "until": "2026-11-20"}, {"since": "2999-01-01", "until": None}]
)
def test_a_window_that_holds_no_time_is_wrong_input(yard: Tools, window: dict[str, Any]) -> None:
    with pytest.raises(DataInvalid, match="holds no time"):
        prepare(yard, **window)


def test_a_window_does_not_reach_into_the_future(yard: Tools) -> None:
    record(yard, *(asked(number) for number in range(5)))
    survey = Collection(yard.records, _collect(until="2999-01-01")).survey()
    assert survey.window.until_ms <= now_ms()


def test_a_correction_that_comes_later_makes_another_dataset(yard: Tools) -> None:
    said = [asked(number) for number in range(5)]
    record(yard, *said)
    before = prepare(yard)
    text = f"No: ask {SECRET}."
    record(yard, a_feedback(said[2].id, expected=text, expected_hash=digest_text(text)))
    after = prepare(yard)
    assert after.digest != before.digest
    assert {one.id: one.answer for one in rows(yard, after)}[said[2].id] == "No: ask [EMAIL]."
    corrected = prepare(yard, answers="corrected")
    assert [one.id for one in rows(yard, corrected)] == [said[2].id]
    assert passed_over(corrected) == {"no right answer given": 4}


def test_rows_that_the_steps_reject_are_quarantined_masked(yard: Tools) -> None:
    two = json.dumps({"messages": [{"role": "user", "content": SECRET}, {"role": "user", "content": "hello?"}]})
    record(yard, *(asked(number) for number in range(5)), asked(9, request=two))
    dataset = prepare(yard)
    (row,) = read_quarantine(folder_of(yard, dataset))
    assert (row["source"], row["line"], row["step"]) == ("production:support", 6, "mapping")
    assert "[EMAIL]" in row["raw"]
    assert files_with(yard.state, SECRET) == []


def test_a_preparation_that_fails_leaves_nothing_unmasked(yard: Tools) -> None:
    record(yard, *(asked(number) for number in range(10)))
    prepare(yard, "first")
    with pytest.raises(DataInvalid, match="no row is left") as error:
        prepare(yard, "second", exclude={"against": ["first"]})
    kept = Path(error.value.fix.rpartition(": ")[2])
    assert kept.read_text().count("[EMAIL]") >= 10
    assert files_with(yard.state, SECRET) == []


_processes = multiprocessing.get_context("fork")


@pytest.fixture
def traffic(tools: Tools) -> Tools:
    """Recorded traffic whose records another process may open."""
    record(tools, *(asked(number) for number in range(10)))
    return tools


def _prepare_and_die(tools: Tools, module: str, function: str) -> None:
    """Prepare, and be killed right after a function did its work."""
    import importlib

    place = importlib.import_module(module)
    work = getattr(place, function)

    def work_and_die(*given: Any, **named: Any) -> None:
        work(*given, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(place, function, work_and_die)
    records = open_records(f"sqlite:///{tools.state / 'records.db'}")
    prepare(dataclasses.replace(tools, records=records))


@pytest.mark.parametrize(
    ("module", "function"),
    [
        ("modelyard.datasets.pipeline.first_pass", "work_block"),
        ("modelyard.datasets.pipeline.second_pass", "write_part"),
        ("modelyard.datasets.preparation", "build_report"),
    ],
)
def test_a_preparation_that_is_killed_leaves_nothing_unmasked(traffic: Tools, module: str, function: str) -> None:
    process = _processes.Process(target=_prepare_and_die, args=(traffic, module, function))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert files_with(traffic.state / "scratch", "user-"), "the kill came too early or too late to say anything"
    assert files_with(traffic.state, SECRET) == []
    assert SECRET.encode() in b"".join(path.read_bytes() for path in traffic.state.glob("records.db*"))
    assert sum(prepare(traffic).rows.values()) == 10


def test_what_goes_away_between_the_two_readings_is_told(yard: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    """A correction without its text, ingested in between, takes an answer that was counted away."""
    said = asked(1)
    record(yard, said)
    counted = workflow.Collection.collected

    def collected(self: Collection, *given: Any) -> Any:
        found = counted(self, *given)
        record(yard, Feedback(id="f", interaction_id=said.id, at_ms=now_ms(), tenant="acme", expected_hash="sha256:x"))
        return found

    monkeypatch.setattr(workflow.Collection, "collected", collected)
    with pytest.raises(DataInvalid, match="production:support holds no rows any more") as error:
        prepare(yard)
    assert error.value.fix == "prepare again"
