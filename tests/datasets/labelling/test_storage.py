"""A job on disk: nothing that was acknowledged is lost, nothing is half there."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from modelyard.core.errors import Conflict, Corrupt, InvalidInput, NotFound
from modelyard.datasets.labelling.storage import LabellingFolder, job_path
from modelyard.datasets.labelling.tasks import Answer, check_labels, label_meant
from tests.datasets.labelling.jobs import make_job, say


def test_a_job_is_read_as_it_was_made(tmp_path: Path) -> None:
    made = make_job(tmp_path / "tone")
    again = LabellingFolder.open(tmp_path / "tone")
    assert (again.job, again.tasks) == (made.job, made.tasks)


def test_a_job_is_never_made_over_another(tmp_path: Path) -> None:
    say(make_job(tmp_path / "tone"), "ada", {"t0": "good"})
    with pytest.raises(Conflict, match="already"):
        make_job(tmp_path / "tone")
    assert LabellingFolder.open(tmp_path / "tone").answers()["ada"]["t0"].label == "good"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".hidden", "a b", "x" * 65])
def test_a_name_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    folder = make_job(tmp_path / "tone")
    with pytest.raises(InvalidInput, match="cannot be the name of a person"):
        folder.log_of(name)
    with pytest.raises(InvalidInput, match="cannot be the name of a labelling job"):
        job_path(tmp_path, name)


def test_a_job_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    make_job(job_path(tmp_path, "tone"))
    with pytest.raises(NotFound) as caught:
        LabellingFolder.open(job_path(tmp_path, "town"))
    assert caught.value.expected == "tone"
    assert [one.path.name for one in LabellingFolder.all(tmp_path)] == ["tone"]


def test_one_spelling_for_each_person(tmp_path: Path) -> None:
    folder = make_job(tmp_path / "tone")
    say(folder, "Ada", {"t0": "good"})
    with pytest.raises(InvalidInput, match="'ada' has answers under the name 'Ada'"):
        folder.log_of("ada")


def test_the_last_line_of_a_task_holds(tmp_path: Path) -> None:
    folder = make_job(tmp_path / "tone")
    say(folder, "ada", {"t0": "good", "t1": "good", "t2": "bad"})
    say(folder, "ada", {"t0": "bad"})
    say(folder, "ada", {"t1": ""}, state="skipped")
    say(folder, "ada", {"t2": ""}, state="withdrawn")
    assert {task: one.label for task, one in folder.answers()["ada"].items()} == {"t0": "bad"}
    assert len(folder.log_of("ada").read()) == 6


def test_a_line_that_was_cut_off_goes_and_the_rest_stays(tmp_path: Path) -> None:
    folder = make_job(tmp_path / "tone")
    say(folder, "ada", {"t0": "good", "t1": "bad"})
    path = folder.log_of("ada").path
    whole = path.read_bytes()
    for cut in range(1, 40):
        path.write_bytes(whole[:-cut])
        kept = {"t0", "t1"} if cut == 1 else {"t0"}
        assert set(folder.answers()["ada"]) == kept
        say(folder, "ada", {"t2": "good"})
        assert set(folder.answers()["ada"]) == {*kept, "t2"}


def test_a_damaged_line_is_told_with_its_number(tmp_path: Path) -> None:
    folder = make_job(tmp_path / "tone")
    say(folder, "ada", {"t0": "good", "t1": "bad"})
    path = folder.log_of("ada").path
    path.write_bytes(b"<<<<<<< HEAD\n" + path.read_bytes())
    with pytest.raises(Corrupt, match=r"line 1 of .*answers-ada\.jsonl is damaged"):
        folder.answers()


def test_one_session_at_a_time_for_a_person(tmp_path: Path) -> None:
    folder = make_job(tmp_path / "tone")
    refused = pytest.raises(Conflict, match=r"answers-ada\.jsonl is being written by process")
    with folder.log_of("ada").writing(), folder.log_of("bob").writing(), refused:
        say(folder, "ada", {"t0": "good"})


def _write_for_ever(path: Path, told: Path) -> None:
    folder = LabellingFolder.open(path)
    with folder.log_of("ada").writing() as writer, told.open("ab", buffering=0) as acknowledged:
        for number in range(1_000_000):
            writer.add(Answer(task=f"t{number}", label="good", by="ada", at_ms=number))
            acknowledged.write(b"%d\n" % number)


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    folder = make_job(tmp_path / "tone")
    told = tmp_path / "told"
    process = multiprocessing.get_context("fork").Process(target=_write_for_ever, args=(folder.path, told))
    process.start()
    while not told.exists() or told.stat().st_size < 200:
        time.sleep(0.005)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    number = len(told.read_bytes().splitlines())
    assert number - 1 <= len(folder.answers()["ada"]) <= number + 1
    say(folder, "ada", {"t0": "bad"})
    assert folder.answers()["ada"]["t0"].label == "bad"


@pytest.mark.parametrize("labels", [("good",), ("good", "Good "), ("good", ""), ("good", "b\nad")])
def test_labels_that_cannot_be(labels: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput):
        check_labels(labels)


def test_labels_are_meant_whatever_their_case() -> None:
    assert label_meant(" GOOD ", ("good", "bad")) == "good"
    assert label_meant("goood", ("good", "bad")) is None
    assert label_meant("  any text ", ()) == "any text"
    assert label_meant("  ", ()) is None


def test_tasks_that_break_off_are_damaged_as_nothing_is_ever_added_to_them(tmp_path: Path) -> None:
    folder = make_job(tmp_path / "tone")
    path = folder.path / "tasks.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(Corrupt, match=r"line 4 of .*tasks\.jsonl is damaged"):
        assert LabellingFolder.open(folder.path).tasks
