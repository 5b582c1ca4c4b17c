"""The gate judges by the exam just sat, and by nothing that was measured before."""

import pytest

from modelyard.ports.release import Release
from modelyard.project.loading import parse_project
from modelyard.project.model import Project
from modelyard.workflows.datasets import prepare_dataset
from modelyard.workflows.reports import evaluate_release
from modelyard.workflows.rollouts import begin_rollout
from modelyard.workflows.tools import Tools
from modelyard.workflows.verdicts import gate_release
from tests.workflows.conftest import PROJECT
from tests.workflows.stand_ins import ScriptedEngine, make_rows, tokenize
from tests.workflows.yard import make_release

STRICT = "careful: {min: {exact_match: 0.8}, max_regression: {exact_match: 0.01}, min_rows: 5, parity: false}"


@pytest.fixture
def project() -> Project:
    text = PROJECT.replace("careful: {min: {exact_match: 0.8}, min_rows: 10, parity: false}", STRICT)
    assert STRICT in text
    return parse_project(text.replace("held-out: {dataset: messages}", "held-out: {dataset: messages, split: train}"))


@pytest.fixture
def engine(tools: Tools, project: Project) -> ScriptedEngine:
    make_rows(tools.root / "raw.jsonl")
    prepare_dataset(tools, "messages", project.datasets["messages"])
    return ScriptedEngine(lambda model, question: "refund")


def make(tools: Tools, project: Project, name: str) -> Release:
    """A release with an adapter in the blobs."""
    folder = tools.root / name
    folder.mkdir()
    (folder / "weights").write_text(name)
    return make_release(tools, project, name, adapter=tools.blobs.put_folder(folder))


def gate(tools: Tools, project: Project, engine: ScriptedEngine, release: Release) -> bool:
    return gate_release(tools, project, "support", lambda: engine, release, tokenize).passed


def evaluate(tools: Tools, project: Project, engine: ScriptedEngine, release: Release, split: str) -> None:
    suite = project.suites["held-out"].model_copy(update={"split": split})
    evaluate_release(tools, lambda: engine, release, "other", suite)


def test_an_old_bad_report_does_not_block(tools: Tools, project: Project, engine: ScriptedEngine) -> None:
    release = make(tools, project, "new")
    engine.answer = lambda model, question: "wrong"
    evaluate(tools, project, engine, release, "validation")
    engine.answer = lambda model, question: "refund"
    assert gate(tools, project, engine, release)


def test_an_old_good_report_does_not_pass(tools: Tools, project: Project, engine: ScriptedEngine) -> None:
    release = make(tools, project, "new")
    evaluate(tools, project, engine, release, "validation")
    engine.answer = lambda model, question: "wrong"
    verdict = gate_release(tools, project, "support", lambda: engine, release, tokenize)
    assert not verdict.passed
    assert len(verdict.reports) == 1
    assert {check.name for check in verdict.checks if "exact_match" in check.name and "champion" not in check.name} == {
        "exact_match (held-out/train)"
    }


def test_the_champion_sits_the_same_exam_once(tools: Tools, project: Project, engine: ScriptedEngine) -> None:
    champion, challenger = make(tools, project, "champion"), make(tools, project, "challenger")
    begin_rollout(tools, project, "support", champion, project.rollouts["quick"].plan())
    evaluate(tools, project, engine, champion, "validation")
    assert gate(tools, project, engine, challenger)
    asked = engine.asked.count(champion.engine_model)
    num_reports = len(tools.records.reports.newest(champion.digest))
    assert num_reports == 2, "its own exam, and now the challenger's"
    assert gate(tools, project, engine, challenger)
    assert engine.asked.count(champion.engine_model) == asked

    prepare_dataset(tools, "messages", project.datasets["messages"].model_copy(update={"max_chars": 1999}))
    assert gate(tools, project, engine, challenger)
    assert len(tools.records.reports.newest(champion.digest)) == num_reports + 1, "a new exam"


def test_a_release_worse_than_the_champion_is_blocked(tools: Tools, project: Project, engine: ScriptedEngine) -> None:
    champion, challenger = make(tools, project, "champion"), make(tools, project, "challenger")
    begin_rollout(tools, project, "support", champion, project.rollouts["quick"].plan())
    engine.answer = lambda model, question: (
        "wrong" if model == challenger.engine_model and question.endswith("7") else "refund"
    )
    verdict = gate_release(tools, project, "support", lambda: engine, challenger, tokenize)
    failed = [check.name for check in verdict.checks if not check.passed]
    assert failed == ["exact_match against the champion (held-out/train)"]
