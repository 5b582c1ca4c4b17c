"""A dataset in the formats of others: nothing is bent, and what went out comes back the same."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import InvalidInput
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.exports.dvc import write_dvc_pointer
from modelyard.datasets.exports.huggingface import export_huggingface
from modelyard.datasets.exports.jsonl import export_jsonl
from modelyard.datasets.files import read_split
from modelyard.datasets.preparation import prepare
from tests.datasets.messages import prepare_file, write_rows

CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
ROWS: dict[str, list[dict[str, Any]]] = {
    "alpaca": [{"instruction": "Add 1 and 2.", "input": "", "output": "3"}],
    "prompt_completion": [{"prompt": "Why is the sky blue?", "completion": "Scattering."}],
    "sharegpt": [{"conversations": [{"from": "human", "value": "hi there"}, {"from": "gpt", "value": "hello"}]}],
    "chat": [
        {
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "where is my parcel"},
                {"role": "assistant", "content": "", "tool_calls": [CALL]},
                {"role": "tool", "content": "in Oslo", "tool_call_id": "c1"},
                {"role": "assistant", "content": "It is in Oslo."},
            ],
            "tools": [{"type": "function", "function": {"name": "find"}}],
        }
    ],
    "preference": [
        {
            "prompt": [{"role": "user", "content": "say something nice"}],
            "chosen": [{"role": "assistant", "content": "you look well"}],
            "rejected": [{"role": "assistant", "content": "no"}],
        }
    ],
    "kto": [{"prompt": "tell me a joke", "completion": "knock knock", "label": False}],
    "text": [{"text": "All of this is to be learned."}],
}


@pytest.mark.parametrize("shape", ROWS)
def test_every_shape_comes_back_as_it_went_in(tmp_path: Path, shape: str) -> None:
    _, folder = prepare_file(write_rows(tmp_path / "rows.jsonl", ROWS[shape]))
    assert export_jsonl(folder, tmp_path / "out.jsonl", ["train", "test"], shape) == 1
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").open()] == ROWS[shape]
    _, again = prepare_file(tmp_path / "out.jsonl")
    first, second = read_split(folder, "train"), read_split(again, "train")
    assert [(row.id, row.messages, row.rejected, row.tools) for row in first] == [
        (row.id, row.messages, row.rejected, row.tools) for row in second
    ]


@pytest.mark.parametrize(("source", "shape"), [("chat", "alpaca"), ("chat", "sharegpt"), ("kto", "preference")])
def test_a_row_is_not_bent_into_a_shape(tmp_path: Path, source: str, shape: str) -> None:
    _, folder = prepare_file(write_rows(tmp_path / "rows.jsonl", ROWS[source]))
    with pytest.raises(InvalidInput, match=f"cannot be written as '{shape}'"):
        export_jsonl(folder, tmp_path / "out.jsonl", ["train"], shape)
    assert not (tmp_path / "out.jsonl").exists()
    assert not list(tmp_path.glob(".out*"))


def test_unknown_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="'poem'"):
        export_jsonl(tmp_path, tmp_path / "out.jsonl", ["train"], "poem")


@pytest.mark.parametrize("shape", ["chat", "preference", "kto", "text"])
def test_hugging_face_reads_what_was_written(tmp_path: Path, shape: str) -> None:
    datasets = pytest.importorskip("datasets")
    _, folder = prepare_file(write_rows(tmp_path / "rows.jsonl", ROWS[shape]))
    assert export_huggingface(folder, tmp_path / "hf") == {"train": 1}
    (row,) = datasets.load_from_disk(str(tmp_path / "hf"))["train"]
    told = ROWS[shape][0]
    assert set(row) == set(told)
    if shape == "chat":
        assert [turn["content"] for turn in row["messages"]] == [turn["content"] for turn in told["messages"]]
    else:
        assert {**row} == told


def test_no_export_removes_what_somebody_else_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    _, folder = prepare_file(write_rows(tmp_path / "rows.jsonl", ROWS["chat"]))
    precious = tmp_path / "precious"
    precious.mkdir()
    export_huggingface(folder, precious)
    assert export_huggingface(folder, precious) == {"train": 1}
    (precious / "thesis.txt").write_text("years of work")
    monkeypatch.chdir(precious)
    for out in (precious, Path(), precious / "thesis.txt"):
        with pytest.raises(InvalidInput, match=r"would be replaced as a whole: thesis\.txt"):
            export_huggingface(folder, out)
    with pytest.raises(InvalidInput, match="is a folder"):
        export_jsonl(folder, precious, ["train"])
    assert (precious / "thesis.txt").read_text() == "years of work"


def test_many_parts_are_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelyard.datasets.sources.reader.BLOCK_BYTES", 100)
    monkeypatch.setattr("modelyard.datasets.sources.opening.CHUNK_BYTES", 100)
    rows = [{"prompt": f"question number {n} of many", "completion": f"answer {n}"} for n in range(100)]
    write_rows(tmp_path / "rows.jsonl", rows)
    (tmp_path / "out").mkdir()
    config = DatasetConfig(path="rows.jsonl", near_duplicates=None)
    prepare("x", config, root=tmp_path, out=tmp_path / "out")
    assert len(list((tmp_path / "out").glob("train-*.parquet"))) > 1
    assert export_jsonl(tmp_path / "out", tmp_path / "all.jsonl", ["train", "validation", "test"]) == 100


def test_dvc_pointers_are_those_of_dvc(tmp_path: Path) -> None:
    """The expected bytes were written by DVC 3.67.1."""
    (tmp_path / "a.jsonl").write_text("hello\n")
    (tmp_path / "f" / "g").mkdir(parents=True)
    (tmp_path / "f" / "b.arrow").write_text("x\n")
    (tmp_path / "f" / "g" / "a.json").write_text("yy\n")
    assert write_dvc_pointer(tmp_path / "a.jsonl").read_text() == (
        "outs:\n- md5: b1946ac92492d2347c6235b4d2611184\n  size: 6\n  hash: md5\n  path: a.jsonl\n"
    )
    assert write_dvc_pointer(tmp_path / "f").read_text() == (
        "outs:\n- md5: 1d31d349054e9e1ef66be9c982a1b4d1.dir\n  size: 5\n  nfiles: 2\n  hash: md5\n  path: f\n"
    )
