"""Rows of any format as tasks."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import DataInvalid
from modelyard.datasets.labelling.gathering import Choice, Gathered, sample, tasks_of_examples, tasks_of_files
from modelyard.datasets.labelling.tasks import Task
from modelyard.ports.dataset import Dataset, Example, Message

PAIR = [{"role": "user", "content": "Is it open?"}, {"role": "assistant", "content": "It is."}]


def gather(folder: Path, rows: list[Any], **choice: str) -> Gathered:
    (folder / "raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tasks_of_files("raw.jsonl", folder, Choice(**choice))


def texts(gathered: Gathered) -> list[str]:
    return [task.text for task in gathered.tasks]


def test_the_field_text_or_the_one_that_is_named(tmp_path: Path) -> None:
    rows = [{"text": "hello", "title": "A", "n": 1}, {"text": "good bye", "title": "B", "n": 2}]
    assert texts(gather(tmp_path, rows)) == ["hello", "good bye"]
    assert texts(gather(tmp_path, rows, text="title")) == ["A", "B"]
    named = gather(tmp_path, rows, text="{title}: {text}", context="n", id="n")
    assert [(task.id, task.text, task.context) for task in named.tasks] == [
        ("1", "A: hello", "1"),
        ("2", "B: good bye", "2"),
    ]


def test_what_the_shape_says_is_a_field_too(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "system", "content": "Be kind."}, *PAIR]}]
    assert texts(gather(tmp_path, rows)) == ["Is it open?"]
    (task,) = gather(tmp_path, rows, text="answer", context="prompt").tasks
    assert (task.text, task.context) == ("It is.", "Is it open?")
    assert texts(gather(tmp_path, rows, text="conversation")) == ["user: Is it open?\nassistant: It is."]


def test_a_csv_of_a_spreadsheet(tmp_path: Path) -> None:
    (tmp_path / "raw.csv").write_bytes('\ufeffid;text\r\n7;"a ""quoted"" one;\nin two lines"\r\n'.encode())
    (task,) = tasks_of_files("raw.csv", tmp_path, Choice(id="id")).tasks
    assert (task.id, task.text, task.line) == ("7", 'a "quoted" one;\nin two lines', 2)


def test_personal_data_is_masked_and_control_characters_go(tmp_path: Path) -> None:
    rows = [{"text": "write to ada@example.org \x1b[2J now"}, {"text": "write to bob@example.org  now"}]
    gathered = gather(tmp_path, rows)
    assert texts(gathered) == ["write to [EMAIL] now"]
    assert (gathered.tasks[0].is_masked, gathered.num_repeated) == (True, 1)


def test_rows_that_make_no_task_are_told(tmp_path: Path) -> None:
    rows = [{"text": "hello"}, {"text": "  "}, {"txt": "x"}, {"text": None}, {"text": ["a"]}, ["no object"]]
    rejected = gather(tmp_path, rows).rejected
    assert [one.line for one in sorted(rejected, key=lambda one: one.line)] == [2, 3, 4, 5, 6]
    assert {one.source for one in rejected} == {"raw.jsonl"}


def test_rows_without_any_text_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match="no known shape") as caught:
        gather(tmp_path, [{"question": "why?"}])
    assert "--text question" in caught.value.fix
    with pytest.raises(DataInvalid, match=r"no row of raw\.jsonl makes a task: raw\.jsonl:1: missing field 'x'"):
        gather(tmp_path, [{"question": "why?"}], text="x")


def test_an_id_stands_for_one_text(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match=r"'7' stands for two texts: raw\.jsonl:1, raw\.jsonl:2"):
        gather(tmp_path, [{"text": "a", "id": 7}, {"text": "b", "id": 7}], id="id")


def test_ids_follow_from_texts_alone(tmp_path: Path) -> None:
    first = gather(tmp_path, [{"text": "a"}, {"text": "b"}])
    other = gather(tmp_path, [{"text": "c"}, {"text": "b"}, {"text": "a"}])
    assert {one.id for one in first.tasks} < {one.id for one in other.tasks}
    assert first.digests["raw.jsonl"] != other.digests["raw.jsonl"]


def test_rows_of_a_dataset_keep_their_ids() -> None:
    turns = tuple(Message(**turn) for turn in PAIR)
    dataset = Dataset(name="shop", digest="sha256:" + "ab" * 32, created_ms=1, blob="", rows={}, sources=(), config={})
    examples = [Example(id="row 1", messages=turns, source="raw.jsonl", line=3, label="opening")]
    gathered = tasks_of_examples(examples, Choice(context="{answer} ({label})"), dataset)
    assert gathered.tasks == [
        Task(id="row 1", text="Is it open?", context="It is. (opening)", source="raw.jsonl", line=3)
    ]
    assert gathered.digests == {dataset.ref: dataset.digest}


def test_a_sample_is_stable_and_keeps_the_order() -> None:
    tasks = [Task(id=f"t{number}", text="x") for number in range(200)]
    some = sample(tasks, 50, seed=1)
    assert len(some) == 50
    assert some == [task for task in tasks if task in some]
    assert some != sample(tasks, 50, seed=2)
    kept = {task.id for task in sample([*tasks, Task(id="new", text="x")], 50, seed=1)}
    assert len(kept & {task.id for task in some}) >= 49
