"""What follows from answers, and the rows that come of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import InvalidInput, Refused
from modelyard.datasets.labelling.exchange import export_tasks
from modelyard.datasets.labelling.outcomes import counts, finish, outcomes
from modelyard.datasets.labelling.storage import LabellingFolder
from tests.datasets.labelling.jobs import decide, make_job, say


@pytest.fixture
def folder(tmp_path: Path) -> LabellingFolder:
    """t0 agreed, t1 two against one, t2 all three apart, t3 one answer, t4 none."""
    folder = make_job(tmp_path / "tone", num_tasks=5)
    say(folder, "ada", {"t0": "good", "t1": "good", "t2": "good", "t3": "bad"})
    say(folder, "bob", {"t0": "good", "t1": "good", "t2": "bad"})
    say(folder, "eve", {"t0": "good", "t1": "bad", "t2": "mixed"})
    return folder


def hows(folder: LabellingFolder, *, majority: bool = False) -> list[tuple[str, str]]:
    return [(one.how, one.label) for one in outcomes(folder, majority=majority)]


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_became_of_each_task(folder: LabellingFolder) -> None:
    agreed, waiting = ("agreed", "good"), ("waiting", "")
    assert hows(folder) == [agreed, ("disagreed", ""), ("disagreed", ""), ("single", "bad"), waiting]
    assert hows(folder, majority=True) == [
        agreed, ("majority", "good"), ("disagreed", ""), ("single", "bad"), waiting
    ]  # fmt: skip
    decide(folder, "carl", "t2", "mixed", "both are right")
    assert hows(folder)[2] == ("adjudicated", "mixed")
    assert counts(outcomes(folder)) == {
        "agreed": 1, "single": 1, "adjudicated": 1, "majority": 0, "disagreed": 1, "waiting": 1
    }  # fmt: skip


def test_half_of_the_answers_are_no_majority(tmp_path: Path) -> None:
    folder = make_job(tmp_path / "tone", num_tasks=1)
    say(folder, "ada", {"t0": "good"})
    say(folder, "bob", {"t0": "bad"})
    assert hows(folder, majority=True) == [("disagreed", "")]


def test_a_task_waits_until_enough_people_answered(tmp_path: Path) -> None:
    folder = make_job(tmp_path / "tone", num_tasks=1, per_task=2)
    say(folder, "ada", {"t0": "good"})
    assert hows(folder) == [("waiting", "")]
    say(folder, "bob", {"t0": "good"})
    assert hows(folder) == [("agreed", "good")]


def test_free_texts_agree_but_for_case_and_white_space(tmp_path: Path) -> None:
    folder = make_job(tmp_path / "tone", num_tasks=1, labels=())
    say(folder, "ada", {"t0": "A  refund"})
    say(folder, "bob", {"t0": "a refund"})
    assert hows(folder) == [("agreed", "A  refund")]


def test_undecided_tasks_are_refused_and_nothing_is_written(folder: LabellingFolder, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="3 of 5 tasks of 'tone' are undecided: people disagree on 2, 1 wait") as caught:
        finish(folder, tmp_path / "out.jsonl")
    assert "modelyard label adjudicate tone" in caught.value.fix
    assert not (tmp_path / "out.jsonl").exists()
    with pytest.raises(Refused, match="2 of 5"):
        finish(folder, tmp_path / "out.jsonl", majority=True)


def test_a_job_without_any_label_is_refused_always(tmp_path: Path) -> None:
    folder = make_job(tmp_path / "tone")
    with pytest.raises(Refused, match="4 of 4"):
        finish(folder, tmp_path / "out.jsonl", skip_undecided=True)


def test_each_row_tells_who_said_what_and_when(folder: LabellingFolder, tmp_path: Path) -> None:
    decide(folder, "carl", "t2", "mixed", "both are right")
    finish(folder, tmp_path / "out.jsonl", majority=True, skip_undecided=True)
    rows = rows_of(tmp_path / "out.jsonl")
    assert [(row["id"], row["text"], row["label"], row["meta"]["how"]) for row in rows] == [
        ("t0", "text number 0", "good", "agreed"),
        ("t1", "text number 1", "good", "majority"),
        ("t2", "text number 2", "mixed", "adjudicated"),
        ("t3", "text number 3", "bad", "single"),
    ]
    meta = rows[2]["meta"]
    assert {(one["person"], one["label"]) for one in meta["by"]} == {("ada", "good"), ("bob", "bad"), ("eve", "mixed")}
    assert meta["by"][0]["at"] == "2023-11-14T22:13:20.000Z"
    assert (meta["decided"]["person"], meta["decided"]["note"]) == ("carl", "both are right")
    assert (meta["job"], meta["source"], meta["line"]) == ("tone", "raw.jsonl", 3)


def test_what_is_written_is_jsonl(folder: LabellingFolder, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"does not end in \.jsonl"):
        finish(folder, tmp_path / "out.csv", skip_undecided=True)


@pytest.mark.parametrize("name", ["raw.jsonl", "labelling/tone/tasks.jsonl", "labelling/other/../tone/out.jsonl"])
def test_nothing_of_a_job_is_written_over(tmp_path: Path, name: str) -> None:
    folder = make_job(tmp_path / "labelling" / "tone")
    say(folder, "ada", dict.fromkeys(folder.tasks, "good"))
    (tmp_path / "raw.jsonl").write_text("raw\n")
    before = (folder.path / "tasks.jsonl").read_bytes()
    for write in (finish, export_tasks):
        with pytest.raises(InvalidInput, match="belongs to the job 'tone'"):
            write(folder, tmp_path / name)
    assert ((tmp_path / "raw.jsonl").read_text(), (folder.path / "tasks.jsonl").read_bytes()) == ("raw\n", before)
