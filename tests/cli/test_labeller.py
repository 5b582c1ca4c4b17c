"""The labeller in a real terminal: single keys, notes, undo, Ctrl-C, Ctrl-D, and texts that would steer it."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.datasets.labelling.storage import LabellingFolder
from modelyard.datasets.labelling.tasks import Task
from tests.cli.terminal import Terminal
from tests.datasets.labelling.jobs import make_job, say


@pytest.fixture
def job(tmp_path: Path) -> LabellingFolder:
    (tmp_path / "modelyard.yaml").write_text("project: shop\n")
    return make_job(tmp_path / "labelling" / "tone")


def terminal(job: LabellingFolder, *words: str) -> Terminal:
    command = words or ("label", "start", "tone", "--as", "ada")
    return Terminal(job.path.parent.parent, command)


def said(job: LabellingFolder, person: str = "ada") -> dict[str, tuple[str, str]]:
    return {task: (one.label, one.note) for task, one in job.answers().get(person, {}).items()}


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_key_an_answer(job: LabellingFolder) -> None:
    with terminal(job) as one:
        first = one.wait_for("? help")
        assert "text number 0" in first
        assert "4 waiting" in first
        one.press("2")
        assert "text number 1" in one.wait_for("? help")
        assert said(job) == {"t0": ("bad", "")}
        one.press("x")
        one.wait_for("'x' means nothing here")
        one.press("\x1b[A")
        one.wait_for("that key means nothing here")
        one.press("n")
        one.wait_for("note: ")
        one.press("nöt sure\x7f\x7fre\x1b[D\x1b[3~\n")
        one.wait_for("noted: nöt sure")
        one.press("1")
        one.wait_for("text number 2")
        one.press("u")
        one.wait_for("taken back")
        one.wait_for("text number 1")
        one.press("3")
        one.wait_for("text number 2")
        one.press("s")
        one.wait_for("text number 3")
        one.press("?")
        one.wait_for("leave the task for another time")
        one.press("q")
        code, out = one.finish()
        assert (code, out) == (0, "ada: 2 done now, 1 waiting, 1 skipped, which come again\n")
        assert one.is_as_before
    assert said(job) == {"t0": ("bad", ""), "t1": ("mixed", "")}
    log = lines_of(job.path / "answers-ada.jsonl")
    assert [(line["note"], line["state"]) for line in log][1:3] == [("nöt sure", "given"), ("", "withdrawn")]


def test_keys_that_are_typed_ahead_are_not_lost(job: LabellingFolder) -> None:
    with terminal(job) as one:
        one.wait_for("? help")
        one.press("1231u2")
        one.wait_for("taken back")
        one.wait_for("Nothing waits for you")
        one.press("q")
        assert one.finish() == (0, "ada: 4 done now, 0 waiting\n")
    assert [label for label, _ in said(job).values()] == ["good", "bad", "mixed", "bad"]


def test_ctrl_c_loses_nothing_and_gives_the_terminal_back(job: LabellingFolder) -> None:
    with terminal(job) as one:
        one.wait_for("? help")
        one.press("1")
        one.wait_for("text number 1")
        one.press("\x03")
        one.wait_for("every answer is kept, 1 of this sitting")
        one.wait_for("interrupted")
        assert one.finish()[0] == 130
        assert one.is_as_before
    with terminal(job) as one:
        assert "text number 1" in one.wait_for("? help")
        one.press("n")
        one.wait_for("note: ")
        one.press("half a no\x03")
        assert one.finish()[0] == 130
        assert one.is_as_before
    assert said(job) == {"t0": ("good", "")}


def test_a_key_that_is_many_bytes_is_no_answer_and_swallows_none(job: LabellingFolder) -> None:
    with terminal(job) as one:
        one.wait_for("? help")
        # F5, again and again as a held key repeats; arrows; F1 in three dialects; Alt and a letter; then answers.
        one.press("\x1b[15~" * 7 + "\x1b[A\x1b[1;5D" * 7 + "\x1b[[A\x1bOP\x1b[11~\x1bx" + "1" + "\x1b[B" + "2")
        one.wait_for("text number 2")
        one.wait_for("? help")
        one.press("q")
        assert one.finish()[0] == 0
    assert said(job) == {"t0": ("good", ""), "t1": ("bad", "")}


def test_ended_by_another_program_the_terminal_is_given_back(job: LabellingFolder) -> None:
    with terminal(job) as one:
        one.wait_for("? help")
        one.press("1")
        one.wait_for("? help")
        one.process.terminate()
        assert one.finish()[0] == 143
        assert one.is_as_before
    assert said(job) == {"t0": ("good", "")}


def test_ctrl_d_ends_a_sitting(job: LabellingFolder) -> None:
    with terminal(job, "label", "start", "tone", "--as", "ada", "--json") as one:
        one.wait_for("? help")
        one.press("1\x04")
        code, out = one.finish()
    assert (code, json.loads(out)["num_given"]) == (0, 1)


def test_many_labels_are_typed_as_far_as_is_needed(tmp_path: Path) -> None:
    (tmp_path / "modelyard.yaml").write_text("project: shop\n")
    labels = tuple(f"{a}{b}" for a in "abcdef" for b in ("lpha", "ravo", "harlie", "elta", "cho", "oxtrot", "olf"))
    job = make_job(tmp_path / "labelling" / "tone", labels=labels)
    with terminal(job) as one:
        one.wait_for("label: ")
        one.press("b\n")
        one.wait_for("7 labels begin so")
        one.press("bra\n")
        one.wait_for("text number 1")
        one.press(":q\n")
        assert one.finish()[0] == 0
    assert said(job) == {"t0": ("bravo", "")}


def test_a_text_does_not_steer_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "modelyard.yaml").write_text("project: shop\n")
    nasty = "\x1b]0;owned\x07\x1b[2J\x9b31m[bold]not markup[/bold]\rx"
    job = make_job(tmp_path / "labelling" / "tone", tasks=[Task(id="t0", text=nasty, context=nasty)])
    with terminal(job) as one:
        shown = one.wait_for("? help")
    assert "\ufffd]0;owned\ufffd\ufffd[2J\ufffd31m[bold]not markup[/bold]\ufffdx" in shown


def test_who_said_what_is_shown_and_the_reason_asked(job: LabellingFolder) -> None:
    say(job, "ada", {"t0": "good", "t1": "good"}, note="surely")
    say(job, "bob", {"t0": "bad", "t1": "good"})
    with terminal(job, "label", "adjudicate", "tone", "--as", "carl") as one:
        shown = one.wait_for("? help")
        assert "ada: good  (surely)" in shown
        assert "bob: bad" in shown
        one.press("3")
        one.wait_for("why: ")
        one.press("\n")
        one.wait_for("why: ")
        one.press("both are right\n")
        one.wait_for("Nothing waits for you")
        one.press("q")
        assert one.finish() == (0, "carl: 1 done now, 0 waiting\n")
    assert [(line["label"], line["note"], line["by"]) for line in lines_of(job.path / "decisions.jsonl")] == [
        ("mixed", "both are right", "carl")
    ]
