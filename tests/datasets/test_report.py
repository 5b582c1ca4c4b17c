"""The report: what it tells of a preparation, on disk and on the terminal."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from modelyard.datasets.report import summary_table
from tests.datasets.messages import labelled, prepare_file, write_rows

ROWS = labelled(
    ("first question about the kettle that I bought", "a"),
    ("First question about the kettle that I bought", "a"),
    ("first question about the kettle that I bought!", "a"),
    ("another", "b"),
    ("", "b"),
    ("write to anna@example.com [now]", "b"),
)


def test_report_on_disk_is_the_one_returned(tmp_path: Path) -> None:
    prepared, out = prepare_file(write_rows(tmp_path / "rows.jsonl", ROWS))
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert report == prepared.report
    assert report["digest"] == prepared.digest
    assert report["rows_read"] == 6
    assert report["rows"] == {"train": 3, "validation": 0, "test": 0}
    assert report["labels"] == {
        "distinct": 2,
        "rows": {"a": {"train": 1, "validation": 0, "test": 0}, "b": {"train": 2, "validation": 0, "test": 0}},
    }
    assert report["duplicates"]["exact"] == {
        "clusters": 1,
        "rows": 2,
        "largest": [{"line": 1, "rows": 2, "prompt": ROWS[0]["text"]}],
    }
    assert report["duplicates"]["near"]["clusters"] == 1
    assert sum(part["rows"] or 0 for part in report["lengths"]["prompt"]) == 3
    assert [part for part in report["lengths"]["prompt"] if part["rows"]] == [
        {"from": 0, "to": 16, "rows": 1},
        {"from": 16, "to": 32, "rows": 1},
        {"from": 32, "to": 64, "rows": 1},
    ]
    (source,) = report["sources"]
    assert (source["path"], source["format"], source["compression"], source["detected_by"], source["has_bom"]) == (
        "rows.jsonl",
        "jsonl",
        "",
        "ending",
        False,
    )


def test_answers_that_are_no_labels_are_only_counted(tmp_path: Path) -> None:
    rows = labelled(*((f"question {number} {number * 7}", f"answer {number}") for number in range(501)))
    prepared, _ = prepare_file(write_rows(tmp_path / "rows.jsonl", rows))
    assert prepared.report["labels"] == {"distinct": 501, "rows": {}}


def test_summary_table_shows_every_step_and_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepared, _ = prepare_file(write_rows(tmp_path / "rows.jsonl", ROWS))
    Console(width=140).print(summary_table(prepared))
    shown = capsys.readouterr().out
    assert "messages: 6 rows read" in shown
    assert all(count["step"] in shown for count in prepared.steps)
    assert "empty prompt 1" in shown
    assert "Personal data (mask): email 1" in shown
    assert any(line.split("│")[1:3] == [f" {'train':<16} ", f"{3:>8} "] for line in shown.splitlines())
