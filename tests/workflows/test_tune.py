"""Tuning goes on where it was interrupted, and begins anew where something that decides its outcome has changed."""

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from modelyard.core.errors import DataInvalid, NotFound, RecipeInvalid
from modelyard.ports.engine import Connect
from modelyard.ports.release import ModelRef
from modelyard.project.loading import parse_project
from modelyard.project.model import Project
from modelyard.workflows import tune
from modelyard.workflows.tools import Tools
from modelyard.workflows.tune import tune_service
from tests.workflows.conftest import PROJECT
from tests.workflows.stand_ins import TERMS, ScriptedEngine, Workshop, make_base, make_rows, tokenize


@pytest.fixture
def workshop() -> Workshop:
    return Workshop()


@pytest.fixture
def yard(tools: Tools, workshop: Workshop) -> Tools:
    make_base(tools.root / "base")
    make_rows(tools.root / "raw.jsonl")
    return dataclasses.replace(tools, compute=workshop)


def run(yard: Tools, project: Project) -> tuple[str, str]:
    @contextmanager
    def engine_for(base: ModelRef) -> Iterator[Connect]:
        yield lambda: ScriptedEngine(lambda model, question: "refund")

    return tune_service(yard, project, "support", engine_for, lambda release: tokenize, TERMS)


def fails_with(error: Exception) -> Workshop:
    def fail() -> None:
        raise error

    return Workshop(fail)


def changed(old: str, new: str) -> Project:
    assert old in PROJECT
    return parse_project(PROJECT.replace(old, new, 1))


def test_a_failure_by_the_data_is_left_by_mending_the_configuration(
    yard: Tools, project: Project, workshop: Workshop
) -> None:
    workshop.instead = fails_with(RecipeInvalid("a row is too long")).instead
    with pytest.raises(RecipeInvalid):
        run(yard, project)
    first = yard.records.datasets.find("messages")
    workshop.instead = lambda: None
    release, _ = run(yard, changed('answer: "{intent}"', 'answer: "{intent}", max_chars: 100'))
    made = yard.records.runs.get(yard.records.releases.get(release).run_id)
    assert made.lineage.dataset_digest != first.digest
    assert yard.records.datasets.get(made.lineage.dataset_digest).config["max_chars"] == 100


def test_a_failure_by_the_data_is_left_by_mending_the_file(yard: Tools, project: Project, workshop: Workshop) -> None:
    workshop.instead = fails_with(DataInvalid("one label alone")).instead
    with pytest.raises(DataInvalid):
        run(yard, project)
    workshop.instead = lambda: None
    make_rows(yard.root / "raw.jsonl", label="other", num_rows=130)
    release, _ = run(yard, project)
    made = yard.records.runs.get(yard.records.releases.get(release).run_id)
    assert made.lineage.dataset_digest == yard.records.datasets.newest()[0].digest
    assert len(yard.records.datasets.newest()) == 2


def test_a_failure_that_passes_is_gone_on_from(yard: Tools, project: Project, workshop: Workshop) -> None:
    workshop.instead = fails_with(NotFound("the disk was away")).instead
    with pytest.raises(NotFound):
        run(yard, project)
    workshop.instead = lambda: None
    run(yard, project)
    (only,) = yard.records.runs.newest()
    assert only.state == "finished"
    assert len(yard.records.datasets.newest()) == 1


def test_finished_work_begins_anew_and_leaves_nothing(yard: Tools, project: Project, workshop: Workshop) -> None:
    first, second = run(yard, project), run(yard, project)
    assert first[0] == second[0], "the same weights are the same release"
    assert first[1] != second[1], "judged again"
    assert workshop.num_runs == 2
    assert list((yard.state / "work").iterdir()) == []


def test_killed_before_its_work_was_forgotten_it_hands_that_back_only_where_nothing_changed(
    yard: Tools, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tune, "_forget", lambda work, work_id: None)
        first = run(yard, project)
    os.utime(yard.root / "raw.jsonl", (1, 1))
    assert run(yard, project)[1] != first[1]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{base: base}", "{base: base, rank: 8}"),
        ("held-out: {dataset: messages}", "held-out: {dataset: messages, split: validation}"),
        ("exact_match: 0.8", "exact_match: 0.7"),
        ('answer: "{intent}"', 'answer: "{text}"'),
        ("  messages: {path", "  others: {path: raw.jsonl}\n  messages: {path"),
    ],
)
def test_what_decides_the_outcome_is_in_the_name_of_the_work(yard: Tools, project: Project, old: str, new: str) -> None:
    before = tune._digest_inputs(yard, project, "support")
    same = tune._digest_inputs(yard, changed(old, new), "support") == before
    assert same == ("others" in new)
    make_base(yard.root / "base", weights="pulled again")
    assert tune._digest_inputs(yard, project, "support") != before
