"""The difference of two datasets: every row accounted for, the steps and the configuration side by side."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.errors import DataInvalid
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.report.comparing import compare
from modelyard.datasets.report.row_changes import row_changes
from modelyard.datasets.report.terminal import comparison_sections
from modelyard.datasets.splits import SPLITS
from tests.datasets.report.made import Made, write_dataset

KEPT = [Made(f"question {number}", "an answer", id=f"id {number}") for number in range(7)]
GONE = Made("a question that goes", "x", id="gone")
NEW = Made("a question that comes", "x", id="new")
BEFORE, AFTER = Made("how much", "ten", id="same id"), Made("how much", "twelve", id="same id")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    a = write_dataset(tmp_path / "a", {"train": [*KEPT[:5], GONE, BEFORE], "test": KEPT[5:]})
    config = DatasetConfig(path="rows.jsonl", min_chars=3, near_duplicates=None)
    later = [{"path": "more.jsonl", "digest": "sha256:" + "cd" * 32, "num_bytes": 99}]
    b = write_dataset(
        tmp_path / "b", {"train": [AFTER, NEW, *KEPT[:5]], "test": KEPT[5:]}, config=config, sources=later
    )
    return a, b


def test_every_row_is_the_same_added_removed_or_changed(folders: tuple[Path, Path]) -> None:
    rows = compare(*folders)["rows"]
    assert {name: rows[name] for name in ("same", "added", "removed", "changed", "moved")} == {
        "same": 7, "added": 1, "removed": 1, "changed": 1, "moved": 0,
    }  # fmt: skip
    assert rows["by_split"]["train"] == {"a": 7, "b": 7, "added": 1, "removed": 1, "changed": 1}
    assert [one["id"] for one in rows["examples"]["added"]] == ["new"]
    assert [one["prompt"] for one in rows["examples"]["removed"]] == [GONE.prompt]
    (changed,) = rows["examples"]["changed"]
    assert (changed["id"], changed["a"]["answer"], changed["b"]["answer"]) == ("same id", "ten", "twelve")


def test_a_row_in_another_split_has_moved(tmp_path: Path) -> None:
    a = write_dataset(tmp_path / "a", {"train": KEPT[:4], "test": KEPT[4:]})
    config = DatasetConfig(path="rows.jsonl", salt="other")
    b = write_dataset(tmp_path / "b", {"train": KEPT[:3], "test": KEPT[3:]}, config=config)
    comparison = compare(a, b)
    assert comparison["rows"]["moves"] == {"train to test": 1}
    assert (comparison["rows"]["moved"], comparison["rows"]["same"]) == (1, 6)
    assert comparison["split_rules"] == ["salt"]
    titles = [section.title for section in comparison_sections(comparison)]
    assert "1 rows moved to another split; the splits follow other rules: salt" in titles


def test_configuration_and_sources_that_changed(folders: tuple[Path, Path]) -> None:
    comparison = compare(*folders)
    changed = {one["key"]: (one["a"], one["b"]) for one in comparison["config"]}
    assert changed["min_chars"] == (1, 3)
    assert changed["near_duplicates.threshold"] == (0.8, None)
    assert {one["path"]: one["became"] for one in comparison["sources"]} == {
        "more.jsonl": "added",
        "rows.jsonl": "removed",
    }
    assert [one["step"] for one in comparison["steps"]] == ["reading", "personal_data", "exact_duplicates"]
    assert comparison["steps"][0]["a"] == {"rows_in": 9, "dropped": 0, "changed": 0}


def test_labels_and_lengths_that_drifted(tmp_path: Path) -> None:
    a = write_dataset(tmp_path / "a", {"train": [Made(f"q {n}", "x", label="card") for n in range(4)]})
    b = write_dataset(
        tmp_path / "b", {"train": [Made(f"q {n}", "xxxx", label="card" if n < 3 else "refund") for n in range(4)]}
    )
    comparison = compare(a, b)
    assert comparison["labels"]["distance"] == 0.25
    assert comparison["labels"]["most"][0] == {"label": "card", "a": 4, "b": 3}
    assert (comparison["lengths"]["prompt"]["distance"], comparison["lengths"]["answer"]["distance"]) == (0, 1)


def test_a_dataset_does_not_differ_from_itself(folders: tuple[Path, Path]) -> None:
    comparison = compare(folders[0], folders[0])
    rows = comparison["rows"]
    assert comparison["is_same"]
    assert (rows["same"], rows["added"], rows["removed"], rows["changed"], rows["moved"]) == (9, 0, 0, 0, 0)
    assert (comparison["config"], comparison["labels"]["most"]) == ([], [])


def test_words_say_that_no_row_moved(folders: tuple[Path, Path]) -> None:
    sections = list(comparison_sections(compare(*folders), verbose=True))
    titles = [section.title for section in sections]
    assert "Rows: 7 the same, 1 added, 1 removed, 1 changed" in titles
    assert "0 rows moved to another split" in titles
    assert all(len(line) == len(section.headings) for section in sections for line in section.lines)
    (changed,) = [section for section in sections if section.title == "Rows changed"]
    assert changed.lines == [("same id", "how much -> ten", "how much -> twelve")]


def test_a_folder_of_an_older_version_is_told_so(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    (tmp_path / "old").mkdir()
    with pytest.raises(DataInvalid, match=r"no report\.json"):
        compare(folders[0], tmp_path / "old")
    (tmp_path / "old" / "report.json").write_text('{"name": "x"}', "utf-8")
    with pytest.raises(DataInvalid, match="another version"):
        compare(tmp_path / "old", folders[0])
    (tmp_path / "old" / "report.json").write_text('{"name', "utf-8")
    with pytest.raises(DataInvalid, match="damaged"):
        compare(tmp_path / "old", folders[0])


Placed = st.dictionaries(
    st.integers(0, 12), st.tuples(st.sampled_from(SPLITS), st.sampled_from(("x", "y"))), max_size=12
)


@settings(max_examples=25, deadline=None)
@given(Placed, Placed)
def test_counts_are_those_of_sets(
    tmp_path_factory: pytest.TempPathFactory,
    a: dict[int, tuple[str, str]],
    b: dict[int, tuple[str, str]],
) -> None:
    folder = tmp_path_factory.mktemp("sets")
    sides = {}
    for name, placed in (("a", a), ("b", b)):
        by_split: dict[str, list[Made]] = {split: [] for split in SPLITS}
        for number, (split, answer) in placed.items():
            by_split[split].append(Made(f"question {number}", answer, id=f"id {number}"))
        sides[name] = write_dataset(folder / name, by_split, rows_per_part=2)
    rows = row_changes(sides["a"], sides["b"])
    both = a.keys() & b.keys()
    assert rows["changed"] == sum(a[key][1] != b[key][1] for key in both)
    assert rows["moved"] == sum(a[key][1] == b[key][1] and a[key][0] != b[key][0] for key in both)
    assert rows["same"] == sum(a[key] == b[key] for key in both)
    assert (rows["added"], rows["removed"]) == (len(b.keys() - a.keys()), len(a.keys() - b.keys()))
