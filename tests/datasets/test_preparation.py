"""The preparation as a whole: nothing lost, nothing moved, the same bytes every time, and clear refusals."""

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.adapters.compute.pool import ProcessWorkers
from modelyard.core.digests import digest_file
from modelyard.core.errors import DataInvalid, NotFound
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.preparation import Prepared, prepare, read_split, steps
from modelyard.datasets.splits import SPLITS, split_key, split_of
from modelyard.demo.messages import generate_messages, write_messy
from modelyard.ports.dataset import Example, Message
from modelyard.ports.workers import Inline, Workers
from tests.datasets.messages import labelled, prepare_file, quarantine, text_in, write_rows

ALL_SPLITS = {"train": 0.8, "validation": 0.1, "test": 0.1}
ANCHORS = labelled(*((text_in(split, number), "anchor") for split in SPLITS for number in range(3)))


def texts_by_split(out: Path) -> dict[str, str]:
    return {row.prompt[0].content: split for split in SPLITS for row in read_split(out, split)}


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Path, Path]:
    path = tmp_path_factory.mktemp("messy") / "messages.jsonl"
    write_messy(path, seed=3, num_rows=1500)
    return *prepare_file(path, answer="{intent}", id="id", splits=ALL_SPLITS, max_chars=2000), path


def test_rows_are_chat_messages_that_know_their_place(tmp_path: Path) -> None:
    rows = [{"id": "m-1", "text": "Where is it?", "label": "track"}]
    prepared, out = prepare_file(write_rows(tmp_path / "rows.jsonl", rows), prompt="Q: {text}", id="id")
    messages = (Message(role="user", content="Q: Where is it?"), Message(role="assistant", content="track"))
    assert read_split(out, "train") == [Example(id="m-1", messages=messages, source="rows.jsonl", line=1)]
    assert read_split(out, "test") == []
    dataset = prepared.dataset(blob="sha256:0", created_ms=1)
    assert (dataset.rows, dataset.sources[0].digest) == (
        {"train": 1, "validation": 0, "test": 0},
        digest_file(tmp_path / "rows.jsonl"),
    )
    with pytest.raises(NotFound, match="no split 'dev'"):
        read_split(out, "dev")


def test_no_row_is_lost_at_any_step(messy: tuple[Prepared, Path, Path]) -> None:
    prepared, out, path = messy
    assert [count["step"] for count in prepared.steps] == list(steps(DatasetConfig(path="x")))
    rows = len(path.read_text("utf-8").splitlines())
    for count in prepared.steps:
        assert count["rows_in"] == rows == count["rows_out"] + count["dropped"]
        assert sum(count["causes"].values()) == count["dropped"]
        assert len(count["examples"]) == min(10, count["dropped"])
        rows = count["rows_out"]
    assert sum(prepared.rows.values()) == rows
    lines = [row.line for split in SPLITS for row in read_split(out, split)]
    lines += [row["line"] for row in quarantine(out)]
    assert sorted(lines) == list(range(1, 1501))


def test_quarantine_says_what_the_counts_say(messy: tuple[Prepared, Path, Path]) -> None:
    prepared, out, _ = messy
    rows = quarantine(out)
    assert {(*row,) for row in rows} == {("source", "line", "step", "reason", "raw")}
    for count in prepared.steps:
        assert len([row for row in rows if row["step"] == count["step"]]) == count["dropped"]


def test_ids_are_unique(messy: tuple[Prepared, Path, Path]) -> None:
    _, out, _ = messy
    ids = [row.id for split in SPLITS for row in read_split(out, split)]
    assert len(set(ids)) == len(ids)


def test_every_kept_row_is_in_the_split_of_its_own_unmasked_text(messy: tuple[Prepared, Path, Path]) -> None:
    _, out, path = messy
    lines = path.read_text("utf-8").splitlines()
    for split in SPLITS:
        for row in read_split(out, split):
            text = json.loads(lines[row.line - 1])["text"]
            if row.prompt[0].content == text:
                assert split_of(split_key(text)) == split


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little files are cut into many blocks, and are worth workers."""
    monkeypatch.setattr("modelyard.datasets.sources.reader.BLOCK_BYTES", 20_000)
    monkeypatch.setattr("modelyard.datasets.sources.opening.CHUNK_BYTES", 10_000)
    monkeypatch.setattr("modelyard.datasets.preparation._WORTH_WORKERS_BYTES", 0)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("kind", ["inline", "processes", pytest.param("ray", marks=pytest.mark.slow)])
def test_same_bytes_with_any_workers_and_blocks(messy: tuple[Prepared, Path, Path], tmp_path: Path, kind: str) -> None:
    prepared, out, path = messy
    config = DatasetConfig(path=path.name, answer="{intent}", id="id", splits=ALL_SPLITS, max_chars=2000)
    again = prepare("messages", config, root=path.parent, out=tmp_path, workers=workers_of(kind))
    assert (again.digest, again.rows, again.steps) == (prepared.digest, prepared.rows, prepared.steps)
    assert (tmp_path / "report.json").read_bytes() == (out / "report.json").read_bytes()
    assert (tmp_path / "quarantine.jsonl").read_bytes() != b""
    for split in SPLITS:
        assert read_split(tmp_path, split) == read_split(out, split)


def workers_of(kind: str) -> Workers:
    if kind == "inline":
        return Inline()
    if kind == "processes":
        return ProcessWorkers(2)
    pytest.importorskip("ray")
    from modelyard.adapters.compute.ray import RayWorkers

    return RayWorkers("local")


def test_every_part_of_a_row_is_in_the_digest(tmp_path: Path) -> None:
    def digest(rows: list[dict[str, Any]], name: str = "rows.jsonl", **settings: Any) -> str:
        return prepare_file(write_rows(tmp_path / name, rows), **settings)[0].digest

    rows = labelled(("first", "a"), ("second", "b"))
    variants = [
        digest(rows),
        digest(labelled(("first", "a"), ("second", "c"))),
        digest(labelled(("first", "a"), ("Second", "b"))),
        digest(rows[::-1]),
        digest(rows, name="other.jsonl"),
        digest(rows, answer="{text}"),
        digest(rows[:1]),
    ]
    assert len(set(variants)) == len(variants)
    assert digest(rows) == variants[0]


def test_the_digest_covers_name_raw_file_and_configuration_too(tmp_path: Path) -> None:
    def digest(name: str = "messages", path: str = "rows.jsonl", more: str = "", **settings: Any) -> str:
        with write_rows(tmp_path / "rows.jsonl", labelled(("first", "a"), ("second", "b"))).open("a") as file:
            file.write(more)
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        config = DatasetConfig(path=path, splits={"train": 1.0}, **settings)
        return prepare(name, config, root=tmp_path, out=out).digest

    variants = [digest(), digest(name="other"), digest(more="no row\n"), digest(min_chars=2)]
    assert len(set(variants)) == len(variants)
    assert digest(path="./rows.jsonl") == digest(path=str(tmp_path / "rows.jsonl")) == variants[0]
    assert str(tmp_path) not in (tmp_path / "out" / "report.json").read_text()


POOL = [text for text, _ in generate_messages(seed=9, num_rows=60)]
POOL += [text + " please" for text in POOL[:20]]
pairs = st.tuples(st.sampled_from(POOL), st.sampled_from(["a", "b"]))


@given(st.lists(pairs, max_size=25), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_order_moves_no_row_to_another_split(rows: list[tuple[str, str]], rng: random.Random) -> None:
    shuffled = list(rows)
    rng.shuffle(shuffled)
    before, after = (splits_of(version) for version in (rows, shuffled))
    assert all(after.get(text, split) == split for text, split in before.items())


@given(st.lists(pairs, max_size=15), st.lists(pairs, max_size=15))
@settings(max_examples=25, deadline=None)
def test_new_rows_move_no_old_row_to_another_split(old: list[tuple[str, str]], new: list[tuple[str, str]]) -> None:
    before, after = splits_of(old), splits_of([*old, *new])
    assert all(after.get(text, split) == split for text, split in before.items())


def splits_of(rows: list[tuple[str, str]]) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        path = write_rows(Path(folder) / "rows.jsonl", [*ANCHORS, *labelled(*rows)])
        return texts_by_split(prepare_file(path, splits=ALL_SPLITS)[1])


def test_progress_goes_through_bytes_and_rows(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", ANCHORS)
    seen: list[tuple[str, int, int]] = []
    config = DatasetConfig(path="rows.jsonl")
    (tmp_path / "out").mkdir()
    prepare("x", config, root=tmp_path, out=tmp_path / "out", progress=lambda *step: seen.append(step))
    assert ("reading", path.stat().st_size, path.stat().st_size) in seen
    assert ("near_duplicates", 9, 9) in seen
    assert seen[-1] == ("writing", 1, 1)


@pytest.mark.parametrize(
    ("rows", "settings", "says", "fix"),
    [
        (
            [{"body": "x"}] * 3,
            {"prompt": "{text}"},
            "'mapping' dropped 3 of 3, 3 for 'missing field 'text''",
            "name the shape",
        ),
        (labelled(("", "x"), (" ", "x")), {}, "'length' dropped 2 of 2, 2 for 'empty prompt'", "min_chars"),
        (labelled(("q", "a"), ("q", "b")), {}, "'conflicts' dropped 2 of 2", "correct the answers"),
        (labelled(("a@example.com", "x")), {"personal_data": "drop"}, "'personal_data' dropped 1", "mask"),
        (
            labelled(*((text_in("train", number), "x") for number in range(3))),
            {"splits": ALL_SPLITS},
            r"of 3 rows left, none fell into the split 'validation' \(share 0.1\)",
            "splits.validation",
        ),
    ],
)
def test_empty_result_names_the_step_and_the_fix(
    tmp_path: Path, rows: list[dict[str, Any]], settings: dict[str, Any], says: str, fix: str
) -> None:
    with pytest.raises(DataInvalid, match=says) as refusal:
        prepare_file(write_rows(tmp_path / "rows.jsonl", rows), **settings)
    assert fix in refusal.value.fix


def test_unreadable_rows_alone_are_an_empty_result(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("nonsense\n" * 4, "utf-8")
    with pytest.raises(
        DataInvalid, match=r"no row at the beginning of rows.jsonl can be read \(line 1 of rows.jsonl: broken JSON"
    ):
        prepare_file(path)


def test_project_file_needs_no_arrow_and_preparing_says_how_to_get_it() -> None:
    script = """
import sys
sys.modules["pyarrow"] = sys.modules["numba"] = sys.modules["numpy"] = None
import modelyard.datasets.config
from modelyard.core.errors import MissingExtra
try:
    import modelyard.datasets.preparation
except MissingExtra as error:
    print(error.fix)
"""
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert run.stdout == "pip install 'modelyard[data]', or 'modelyard[all]' for everything\n"


def test_csv_without_the_column_names_what_there_is(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("body,category\nhello,x\n", "utf-8")
    with pytest.raises(DataInvalid, match="their fields are 'body', 'category'"):
        prepare_file(path)
