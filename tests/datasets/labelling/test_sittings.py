"""The way through a job: order, skips, undo, a few people a task, decisions."""

from pathlib import Path

from modelyard.datasets.labelling.sittings import Labelling, adjudication, labelling
from modelyard.datasets.labelling.storage import LabellingFolder
from tests.datasets.labelling.jobs import make_job, say


def answer_next(sitting: Labelling, label: str) -> str:
    task = sitting.next()
    assert task is not None
    sitting.answer(task, label, "")
    return task.id


def labels(folder: LabellingFolder, person: str) -> dict[str, str]:
    return {task: answer.label for task, answer in folder.answers().get(person, {}).items()}


def test_tasks_come_in_their_order_and_a_sitting_goes_on(tmp_path: Path) -> None:
    folder = make_job(tmp_path / "tone")
    with labelling(folder, "ada") as sitting:
        assert [answer_next(sitting, "good") for _ in range(2)] == ["t0", "t1"]
        # On the disk at once, for anybody to read.
        assert labels(LabellingFolder.open(folder.path), "ada") == {"t0": "good", "t1": "good"}
    with labelling(folder, "ada") as sitting:
        assert [answer_next(sitting, "bad") for _ in range(2)] == ["t2", "t3"]
        assert sitting.next() is None


def test_a_skipped_task_comes_again_in_the_next_sitting(tmp_path: Path) -> None:
    folder = make_job(tmp_path / "tone", num_tasks=2)
    with labelling(folder, "ada") as sitting:
        task = sitting.next()
        assert task
        sitting.skip(task, "unsure")
        assert (answer_next(sitting, "good"), sitting.next(), sitting.num_skipped) == ("t1", None, 1)
    with labelling(folder, "ada") as sitting:
        assert answer_next(sitting, "bad") == "t0"


def test_undo_goes_back_over_answers_and_skips_of_earlier_sittings_too(tmp_path: Path) -> None:
    folder = make_job(tmp_path / "tone")
    with labelling(folder, "ada") as sitting:
        assert not sitting.undo()
        answer_next(sitting, "good")
        answer_next(sitting, "good")
    with labelling(folder, "ada") as sitting:
        task = sitting.next()
        assert task
        sitting.skip(task)
        came = []
        for _ in range(3):
            assert sitting.undo()
            again = sitting.next()
            came.append(again.id if again else "")
        assert came == ["t2", "t1", "t0"]
        assert not sitting.undo()
        assert answer_next(sitting, "bad") == "t0"
    assert labels(folder, "ada") == {"t0": "bad"}
    assert len(folder.log_of("ada").read()) == 7


def test_undo_leaves_what_came_from_a_file(tmp_path: Path) -> None:
    folder = make_job(tmp_path / "tone")
    say(folder, "ada", {"t0": "good"}, via="answers.csv")
    with labelling(folder, "ada") as sitting:
        assert not sitting.undo()


def test_each_task_goes_to_as_many_people_as_are_wanted(tmp_path: Path) -> None:
    folder = make_job(tmp_path / "tone", num_tasks=30, per_task=2)
    orders = {}
    for person in ("ada", "bob", "eve", "dan"):
        with labelling(folder, person) as sitting:
            orders[person] = list(sitting.waiting())
            while sitting.next():
                answer_next(sitting, "good")
    given = folder.answers()
    assert [sum(task in answers for answers in given.values()) for task in folder.tasks] == [2] * 30
    assert (len(orders["ada"]), len(orders["bob"]), orders["eve"], "eve" in given) == (30, 30, [], False)
    assert orders["ada"] != orders["bob"]


def test_only_what_people_disagree_on_is_decided(tmp_path: Path) -> None:
    folder = make_job(tmp_path / "tone")
    say(folder, "ada", {"t0": "good", "t1": "good", "t2": "bad"})
    say(folder, "bob", {"t0": "good", "t1": "bad", "t2": "good"})
    with adjudication(folder, "carl") as sitting:
        task = sitting.next()
        assert task
        assert task.id == "t1"
        assert [answer.by for answer in sitting.said(task).answers.values()] == ["ada", "bob"]
        sitting.answer(task, "mixed", "a bit of both")
        assert sitting.waiting() == ["t2"]
        assert sitting.undo()
        assert sitting.waiting() == ["t1", "t2"]
        sitting.answer(task, "good", "ada is right")
    assert folder.decision_log.given()["t1"].note == "ada is right"
    with adjudication(folder, "eve") as sitting:
        # What another person decided is not eve's to take back.
        assert not sitting.undo()


def test_answers_of_earlier_sittings_that_are_taken_back_are_none_of_this_one(tmp_path: Path) -> None:
    folder = make_job(tmp_path / "tone")
    with labelling(folder, "ada") as sitting:
        answer_next(sitting, "good")
    with labelling(folder, "ada") as sitting:
        answer_next(sitting, "good")
        assert (sitting.undo(), sitting.num_given) == (True, 0)
        assert (sitting.undo(), sitting.num_given) == (True, 0)
