"""`modelyard label` in a real project: from a file to a dataset, by lines of a pipe."""

import io
import json
import resource
import sys
from pathlib import Path
from typing import Any

import pytest

from modelyard.cli.main import main
from modelyard.datasets.labelling.storage import LabellingFolder
from tests.datasets.labelling.jobs import say

PROJECT = """\
project: shop
datasets:
  messages: {path: raw.jsonl, prompt: "{text}", answer: "{intent}", splits: {train: 1}}
  intents: {path: intents.jsonl, prompt: "{text}", answer: "{label}", id: id, meta: meta, splits: {train: 1}}
"""
TEXTS = ["where is my parcel", "send it back please", "mail ada@example.org", "what a lovely day"]


class Shop:
    """A project folder, and the command line in it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def run(self, *words: str, typed: str | bytes = "") -> tuple[int, str, str]:
        """The exit code, standard output and standard error of a command; `typed` comes through a pipe."""
        self._monkeypatch.setattr(sys, "argv", ["modelyard", *words])
        data = typed.encode() if isinstance(typed, str) else typed
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        told = self._capsys.readouterr()
        return int(end.value.code or 0), told.out, told.err

    def label(self, *words: str, typed: str | bytes = "", code: int = 0) -> str:
        """What `modelyard label` prints: its result, or its error."""
        seen, out, err = self.run("label", *words, typed=typed)
        assert seen == code, err
        return out if code == 0 or "--json" in words else err

    def tell(self, *words: str, typed: str = "") -> Any:
        """What it prints as JSON."""
        return json.loads(self.label(*words, "--json", typed=typed))


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shop:
    (tmp_path / "modelyard.yaml").write_text(PROJECT)
    rows = [{"text": text, "intent": "ab"[place % 2]} for place, text in enumerate(TEXTS)]
    (tmp_path / "raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODELYARD_TRACKING", "none")
    monkeypatch.setenv("MODELYARD_USER", "grace")
    return Shop(tmp_path, monkeypatch, capsys)


@pytest.fixture
def job(shop: Shop) -> Shop:
    shop.label("create", "intents", "--from", "raw.jsonl", "--labels", "delivery,refund,other")
    return shop


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_from_a_file_to_a_dataset(shop: Shop) -> None:
    made = shop.tell("create", "intents", "--from", "raw.jsonl", "--labels", "delivery,refund,other")
    assert (made["num_tasks"], made["num_masked"], made["job"]["by"]) == (4, 1, "grace")
    assert not (shop.folder / ".modelyard").exists()
    told = shop.tell("start", "intents", "--as", "ada", typed="1\nref\n:note hm\no\n3\n")
    assert told == {"person": "ada", "num_given": 4, "num_skipped": 0, "num_waiting": 0}

    shop.label("export", "intents", "--to", "bob.csv", "--as", "bob")
    sheet = (shop.folder / "bob.csv").read_text(encoding="utf-8-sig").splitlines()
    answers = ("delivery", "refund", "refund", "")
    filled = [f"{line[:-1]}{answer}," for line, answer in zip(sheet[1:], answers, strict=True)]
    (shop.folder / "bob.csv").write_text("\r\n".join([sheet[0], *filled]), newline="")
    assert "3 new, 0 as before, 1 rows without a label" in shop.label("import", "intents", "bob.csv", "--as", "bob")

    refused = shop.label("finish", "intents", "--to", "intents.jsonl", code=3)
    assert "1 of 4 tasks of 'intents' are undecided: people disagree on 1" in refused
    shop.label("adjudicate", "intents", "--as", "carl", typed="other\n\nneither of the two\n")
    said = shop.label("finish", "intents", "--to", "intents.jsonl")
    assert "4 of 4 tasks written to intents.jsonl: 2 agreed, 1 with one answer, 1 adjudicated" in said
    (dataset,) = [line.strip() for line in said.splitlines() if "intents: {" in line]
    assert dataset.rstrip("}") in PROJECT

    assert shop.run("data", "prepare", "intents")[0] == 0
    rows = json.loads(shop.run("data", "head", "intents", "--json")[1])
    row = next(row for row in rows if "[EMAIL]" in row["messages"][0]["content"])
    assert row["messages"][1]["content"] == "other"
    meta = json.loads(row["meta"])
    assert [one["person"] for one in meta["by"]] == ["ada", "bob"]
    assert (meta["how"], meta["decided"]["person"], meta["decided"]["note"]) == (
        "adjudicated", "carl", "neither of the two"
    )  # fmt: skip
    assert (meta["source"], meta["line"]) == ("raw.jsonl", 3)


def test_from_a_dataset(shop: Shop) -> None:
    assert shop.run("data", "prepare", "messages")[0] == 0
    created = ("create", "again", "--from", "messages", "--context", "answer", "--sample", "2", "--per-task", "1")
    made = shop.tell(*created)
    tasks = lines_of(shop.folder / "labelling" / "again" / "tasks.jsonl")
    assert (made["num_tasks"], len(tasks), made["job"]["labels"]) == (2, 2, [])
    assert made["job"]["origin"].startswith("messages@")
    assert next(iter(made["job"]["digests"].values())).startswith("sha256:")
    assert {task["context"] for task in tasks} <= {"a", "b"}
    assert "'again' already" in shop.label(*created, code=5)
    assert "neither a file nor a dataset 'nothing'" in shop.label("create", "x", "--from", "nothing", code=4)
    assert "no split" in shop.label("create", "x", "--from", "raw.jsonl", "--split", "train", code=2)
    assert [path.name for path in (shop.folder / "labelling").iterdir()] == ["again"]


def test_what_is_typed_and_what_is_not(job: Shop) -> None:
    typed = "?\nnonsense\n\n1\n:undo\n2\n:skip\n:quit\n3\n"
    _, out, err = job.run("label", "start", "intents", "--as", "ada", typed=typed)
    assert out == "ada: 1 done now, 2 waiting, 1 skipped, which come again\n"
    for told in (":skip     leave the task", "no label begins with 'nonsense'", "an empty line", "last: skipped"):
        assert told in err
    assert "\x1b" not in err
    log = lines_of(job.folder / "labelling" / "intents" / "answers-ada.jsonl")
    assert [(line["label"], line["state"], line["by"]) for line in log] == [
        ("delivery", "given", "ada"), ("", "withdrawn", "ada"), ("refund", "given", "ada"), ("", "skipped", "ada")
    ]  # fmt: skip
    assert job.tell("start", "intents", typed="")["person"] == "grace"


def test_a_line_that_is_not_utf_8_is_told_and_what_came_before_it_is_kept(shop: Shop) -> None:
    shop.label("create", "notes", "--from", "raw.jsonl")
    said = shop.label("start", "notes", "--as", "ada", typed=b"a question\ncaf\xe9\nmore\n", code=2)
    assert r"not UTF-8: b'caf\xe9\n'" in said
    assert [line["label"] for line in lines_of(shop.folder / "labelling/notes/answers-ada.jsonl")] == ["a question"]


def test_a_command_in_place_of_a_reason_decides_nothing(job: Shop) -> None:
    folder = LabellingFolder.open(job.folder / "labelling/intents")
    first, second = list(folder.tasks)[:2]
    say(folder, "ada", {first: "delivery", second: "delivery"})
    say(folder, "bob", {first: "refund", second: "refund"})
    job.label("adjudicate", "intents", "--as", "carl", typed="1\n:skip\n2\n\nit is about money\n:undo\n1\n:quit\n")
    assert [(one["task"], one["note"], one["state"]) for one in lines_of(folder.path / "decisions.jsonl")] == [
        (first, "", "skipped"), (second, "it is about money", "given"), (second, "", "withdrawn"),
    ]  # fmt: skip


def test_numbers_and_tables(job: Shop) -> None:
    assert "Nobody has answered yet" in job.label("show", "intents")
    assert "No task has two answers yet" in job.label("agreement", "intents")
    job.label("start", "intents", "--as", "ada", typed="1\n2\n3\n3\n")
    job.label("start", "intents", "--as", "bob", typed="1\n2\n2\n3\n")
    assert "Krippendorff's alpha 0.667 (" in job.label("show", "intents")
    told = job.label("agreement", "intents")
    assert all(word in told for word in ("ada, bob", "Cohen's kappa", "refund / other", "same answer"))
    facts = job.tell("agreement", "intents", "--seed", "1")
    assert facts["pairs"][0]["cohen_kappa"]["value"] == pytest.approx((0.75 - 5 / 16) / (1 - 5 / 16))
    assert job.tell("show", "intents")["job"]["outcomes"]["agreed"] == 3
    (listed,) = job.tell("list")
    assert (listed["name"], [one["person"] for one in listed["people"]]) == ("intents", ["ada", "bob"])
    assert "intents" in job.label("list")


def test_free_texts_and_the_choice_among_them(shop: Shop) -> None:
    shop.label("create", "free", "--from", "raw.jsonl", "--sample", "1")
    shop.label("start", "free", "--as", "ada", typed="a parcel\n")
    shop.label("start", "free", "--as", "bob", typed="a package\n")
    shop.label("adjudicate", "free", "--as", "carl", typed="#9\n#1\nno\n:undo\n#2\nthe usual word\n")
    shop.label("finish", "free", "--to", "free.jsonl")
    assert [row["label"] for row in lines_of(shop.folder / "free.jsonl")] == ["a package"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("show", "nothing"), 4, "there is no labelling job 'nothing'"),
        (("show", "../intents"), 2, "cannot be the name of a labelling job"),
        (("start", "intents", "--as", "a/b"), 2, "cannot be the name of a person"),
        (("create", "intents", "--from", "raw.jsonl"), 5, "already"),
        (("create", "one", "--from", "raw.jsonl", "--labels", "a"), 2, "the only label"),
        (("create", "one", "--from", "raw.jsonl", "--text", "{"), 2, "a template such as"),
        (("create", "one", "--from", "raw.jsonl", "--question", "caf\udce9?"), 2, "the question is not UTF-8"),
        (("create", "one", "--from", "no*.jsonl"), 2, "names no file"),
        (("import", "intents", "nowhere.csv"), 2, "is no file"),
        (("finish", "intents", "--to", "out.jsonl"), 3, "4 of 4 tasks"),
    ],
)
def test_mistakes_are_told_with_their_exit_codes(job: Shop, words: tuple[str, ...], code: int, said: str) -> None:
    assert said in job.label(*words, code=code)
    assert said in json.dumps(json.loads(job.label(*words, "--json", code=code))["error"], ensure_ascii=False)


def test_the_lines_for_the_project_file_name_the_rows_as_it_does(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my rows").mkdir()
    monkeypatch.chdir(tmp_path / "my rows")
    shop.label("create", "intents.v2", "--from", "../raw.jsonl", "--labels", "a,b")
    shop.label("start", "intents.v2", "--as", "ada", typed="a\na\nb\nb\n")
    said = shop.label("finish", "intents.v2", "--to", "out.jsonl")
    assert "4 of 4 tasks written to out.jsonl" in said
    assert '  intents_v2: {path: "my rows/out.jsonl", prompt:' in said


def test_a_full_disk_is_told_and_what_was_said_before_is_kept(job: Shop) -> None:
    path = job.folder / "labelling" / "intents" / "answers-ada.jsonl"
    job.label("start", "intents", "--as", "ada", typed="1\n")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, before[1]))
    try:
        assert "the disk is full" in job.label("start", "intents", "--as", "ada", typed="2\n", code=6)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "3 done now, 0 waiting" in job.label("start", "intents", "--as", "ada", typed="2\n2\n2\n")
    assert [one["label"] for one in lines_of(path)] == ["delivery", "refund", "refund", "refund"]


def test_a_person_sits_once(job: Shop) -> None:
    folder = LabellingFolder.open(job.folder / "labelling" / "intents")
    with folder.log_of("ada").writing(), folder.decision_log.writing():
        assert "is being written by process" in job.label("start", "intents", "--as", "ada", code=5)
        assert "is being written by process" in job.label("adjudicate", "intents", "--as", "bob", code=5)
        assert "1 done" in job.label("start", "intents", "--as", "bob", typed="1\n")


def test_jobs_that_two_people_labelled_in_two_clones(job: Shop) -> None:
    # Git brings each person's file; nothing else has to be told.
    folder = LabellingFolder.open(job.folder / "labelling" / "intents")
    say(folder, "eve", dict.fromkeys(folder.tasks, "other"))
    assert job.tell("show", "intents")["job"]["outcomes"]["single"] == 4
