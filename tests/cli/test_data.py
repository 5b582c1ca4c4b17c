"""`modelyard data` on two versions of a dataset: the report, the rejected rows, the difference, the expectations."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from modelyard.app import open_app
from modelyard.cli.main import main
from modelyard.core.clock import now_ms
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.ledger import quarantine_line
from modelyard.datasets.outcome import Rejection
from modelyard.datasets.report.reading import read_report
from modelyard.ports.dataset import Dataset, Source
from tests.datasets.report.made import Made, write_dataset

PROJECT = """\
project: shop
datasets:
  made:
    path: rows.jsonl
    expectations: {min_rows: {train: 4}, max_drift: 0.9}
"""
OLD = {
    "train": [Made(f"question number {n}", "answer", id=f"id {n}") for n in range(5)],
    "test": [Made("held out", "answer")],
}
NEW = {
    "train": [*OLD["train"][1:], Made("a new question", "answer", id="new")],
    "test": [*OLD["test"], Made("a new one held out", "answer")],
}
LOST = [Rejection(source="rows.jsonl", line=line, reason=f"broken JSON: at {line}", raw="{") for line in (4, 9)]


class Shop:
    """A project folder, and the command line in it."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        self.refs: list[str] = []

    def add(self, folder: Path, by_split: dict[str, list[Made]], created_ms: int) -> None:
        """Record a dataset as a preparation does."""
        config = DatasetConfig(path="rows.jsonl")
        write_dataset(folder, by_split, dropped=LOST, config=config)
        (folder / "quarantine.jsonl").write_bytes(b"".join(quarantine_line("reading", one) for one in LOST))
        report = read_report(folder)
        with open_app() as app:
            dataset = Dataset(
                name=report["name"],
                digest=report["digest"],
                created_ms=created_ms,
                blob=app.tools.blobs.put_folder(folder),
                rows=report["rows"],
                sources=(Source(path="rows.jsonl", digest="sha256:" + "ab" * 32, num_bytes=1234),),
                config=report["config"],
                steps=tuple(report["steps"]),
            )
            app.tools.records.datasets.add(dataset)
        self.refs.append(dataset.ref)

    def say(self, *words: str) -> tuple[int, str, str]:
        """The exit code, standard output and standard error of a command."""
        self._monkeypatch.setattr(sys, "argv", ["modelyard", *words])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        told = self._capsys.readouterr()
        return int(end.value.code or 0), told.out, told.err

    def tell(self, *words: str) -> Any:
        """What a command prints as JSON."""
        code, out, err = self.say(*words, "--json")
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shop:
    (tmp_path / "modelyard.yaml").write_text(PROJECT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODELYARD_TRACKING", "none")
    shop = Shop(capsys, monkeypatch)
    shop.add(tmp_path / "old", OLD, now_ms() - 1000)
    shop.add(tmp_path / "new", NEW, now_ms())
    return shop


def test_the_report_in_words_as_json_and_as_a_page(shop: Shop, tmp_path: Path) -> None:
    code, out, err = shop.say("data", "report", "made", "--html", "pages/report.html")
    assert (code, err) == (0, "The page: pages/report.html\n")
    assert "of 9 raw rows 5 train, 0 validation, 2 test" in out
    assert "2 broken JSON" in out
    page = (tmp_path / "pages" / "report.html").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert shop.tell("data", "report", "made") == read_report(tmp_path / "new")
    assert "--html report.html" in shop.say("data", "report", "made")[1]


def test_show_tells_dropped_rows_when_asked(shop: Shop) -> None:
    assert "rows.jsonl:9" not in shop.say("data", "show", "made")[1]
    assert "rows.jsonl:9" in shop.say("data", "show", "made", "--verbose")[1]


def test_rejected_rows_with_place_step_and_reason(shop: Shop) -> None:
    rows = shop.tell("data", "rejected", "made")
    assert [(row["line"], row["step"], row["reason"]) for row in rows] == [
        (4, "reading", "broken JSON: at 4"),
        (9, "reading", "broken JSON: at 9"),
    ]
    assert shop.tell("data", "rejected", "made", "--step", "personal_data") == []
    _, out, _ = shop.say("data", "rejected", "made", "-n", "1")
    assert "rows.jsonl:4" in out
    assert "1 more" in out
    code, _, err = shop.say("data", "rejected", "made", "--step", "magic")
    assert code == 2
    assert "went through no step 'magic'" in err
    assert "reading, personal_data, exact_duplicates" in err


def test_the_difference_of_two_versions(shop: Shop) -> None:
    rows = shop.tell("data", "diff", *shop.refs)["rows"]
    assert (rows["same"], rows["added"], rows["removed"], rows["moved"]) == (5, 2, 1, 0)
    _, out, _ = shop.say("data", "diff", *shop.refs, "--verbose")
    assert "0 rows moved to another split" in out
    assert "a new one held out" in out


def test_expectations_that_hold_and_that_do_not(shop: Shop, tmp_path: Path) -> None:
    findings = shop.tell("data", "check", "made")
    assert [(one["expectation"], one["passed"]) for one in findings] == [("min_rows.train", True), ("max_drift", True)]
    assert shop.refs[0].partition("@")[2] in findings[1]["detail"]
    (tmp_path / "modelyard.yaml").write_text(PROJECT.replace("train: 4", "train: 50"))
    code, out, err = shop.say("data", "check", "made", "--json")
    assert (code, [one["passed"] for one in json.loads(out)]) == (2, [False, True])
    assert "does not meet 1 of 2 expectations" in err
    code, out, _ = shop.say("data", "check", "made")
    assert code == 2
    assert "min_rows.train" in out


def test_a_dataset_of_which_nothing_is_expected(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "modelyard.yaml").write_text("project: shop\n")
    code, out, _ = shop.say("data", "check", "made")
    assert (code, "Nothing is expected" in out) == (0, True)
