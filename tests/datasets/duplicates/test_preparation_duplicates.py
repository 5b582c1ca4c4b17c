"""Duplicates in a whole preparation: which rows stay, and what is said of the others."""

from pathlib import Path

import pytest

from modelyard.datasets.files import read_split
from modelyard.datasets.splits import SPLITS, split_key, split_of
from tests.datasets.messages import labelled, prepare_file, quarantine, text_in, write_rows

LONG = "my parcel with the blue kettle has still not arrived at my sister's house"
ALL_SPLITS = {"train": 0.8, "validation": 0.1, "test": 0.1}


def kept_and_reasons(
    tmp_path: Path, *pairs: tuple[str, str], **settings: object
) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """(line, prompt) of the rows kept and (line, reason) of the rest."""
    _, out = prepare_file(write_rows(tmp_path / "rows.jsonl", labelled(*pairs)), **settings)
    kept = [(row.line, row.prompt[0].content) for split in SPLITS for row in read_split(out, split)]
    return sorted(kept), [(row["line"], row["reason"]) for row in quarantine(out)]


def test_exact_duplicate_keeps_the_earliest_as_it_was_written(tmp_path: Path) -> None:
    kept, reasons = kept_and_reasons(tmp_path, ("Where IS it?", "a"), ("other", "b"), (" where is  it? ", "A"))
    assert kept == [(1, "Where IS it?"), (2, "other")]
    assert reasons == [(3, "exact duplicate: same prompt and answer as rows.jsonl:1")]


def test_majority_wins_a_conflict_by_all_its_copies(tmp_path: Path) -> None:
    kept, reasons = kept_and_reasons(tmp_path, ("q", "a"), ("q", "b"), ("Q", "b"), ("other", "a"))
    assert kept == [(2, "q"), (4, "other")]
    assert sorted(line for line, _ in reasons) == [1, 3]
    assert dict(reasons)[1] == "minority answer: 1 of the rows with this prompt say so, 2 say otherwise"


def test_tied_conflict_drops_all(tmp_path: Path) -> None:
    kept, reasons = kept_and_reasons(tmp_path, ("q", "a"), ("q", "b"), ("other", "a"))
    assert kept == [(3, "other")]
    assert {reason for _, reason in reasons} == {
        "tied answers: this prompt has 2 different answers, none in the majority"
    }


def test_repeated_id_is_rejected(tmp_path: Path) -> None:
    rows = [{"id": "1", "text": "first", "label": "a"}, {"id": "1", "text": "second", "label": "a"}]
    _, out = prepare_file(write_rows(tmp_path / "rows.jsonl", rows), id="id")
    assert [row.id for row in read_split(out, "train")] == ["1"]
    assert [row["reason"] for row in quarantine(out)] == ["repeated id: another row has its id too, rows.jsonl:1"]


@pytest.mark.parametrize(
    "other",
    [f"Well, {LONG}", f"{LONG}!!", f"{LONG} please", LONG.upper(), LONG.replace("still", "really still"), f"({LONG})"],
)
def test_near_duplicate_keeps_the_earliest(tmp_path: Path, other: str) -> None:
    kept, reasons = kept_and_reasons(tmp_path, (LONG, "late"), (other, "late"), ("quite another matter", "late"))
    assert [line for line, _ in kept] == [1, 3]
    assert len(reasons) == 1


@pytest.mark.parametrize(
    "other",
    [
        "my parcel with the blue kettle has arrived",
        "your parcel with a red teapot has not yet arrived at my mother's flat",
        "please cancel the blue kettle for my sister's house",
    ],
)
def test_another_message_is_no_near_duplicate(tmp_path: Path, other: str) -> None:
    kept, _ = kept_and_reasons(tmp_path, (LONG, "late"), (other, "late"))
    assert len(kept) == 2


def test_near_duplicates_can_be_turned_off(tmp_path: Path) -> None:
    kept, _ = kept_and_reasons(tmp_path, (LONG, "late"), (f"{LONG} please", "late"), near_duplicates=None)
    assert len(kept) == 2


def test_different_answers_in_one_split_stay(tmp_path: Path) -> None:
    kept, _ = kept_and_reasons(tmp_path, (LONG, "late"), (f"{LONG} please", "lost"))
    assert len(kept) == 2


def variants(split: str) -> str:
    """A variant of the long text that its own words put into a split."""
    tails = (f"{LONG} {word}" for word in range(500))
    return next(text for text in tails if split_of(split_key(text)) == split)


@pytest.mark.parametrize("answer", ["late", "lost"])
@pytest.mark.parametrize("held_out", ["test", "validation"])
@pytest.mark.parametrize("train_first", [True, False])
def test_held_out_row_outlives_its_near_duplicates(
    tmp_path: Path, answer: str, held_out: str, train_first: bool
) -> None:
    pair = [(variants("train"), "late"), (variants(held_out), answer)]
    others = [(text_in(split, number), "x") for split in SPLITS for number in range(2)]
    rows = labelled(*(pair if train_first else reversed(pair)), *others)
    _, out = prepare_file(write_rows(tmp_path / "rows.jsonl", rows), splits=ALL_SPLITS)
    texts = {split: {row.prompt[0].content for row in read_split(out, split)} for split in SPLITS}
    assert variants(held_out) in texts[held_out]
    assert not any(variants("train") in texts[split] for split in SPLITS)


def test_masking_makes_no_leak(tmp_path: Path) -> None:
    """Two texts that only masking makes equal, in different splits: the training one goes."""
    frame = "please write to me at customer{}@example.com about the kettle"
    numbers = range(500)
    train = next(t for n in numbers if split_of(split_key(t := frame.format(n))) == "train")
    test = next(t for n in numbers if split_of(split_key(t := frame.format(n))) == "test")
    others = [(text_in(split, number), "x") for split in SPLITS for number in range(2)]
    rows = labelled((train, "a"), (test, "a"), *others)
    _, out = prepare_file(write_rows(tmp_path / "rows.jsonl", rows), splits=ALL_SPLITS)
    masked = "please write to me at [EMAIL] about the kettle"
    found = [split for split in SPLITS for row in read_split(out, split) if row.prompt[0].content == masked]
    assert found == ["test"]


@pytest.mark.parametrize(("mode", "kept"), [("majority", [2, 4]), ("drop", [4]), ("keep", [1, 2, 4])])
def test_what_becomes_of_conflicts_can_be_chosen(tmp_path: Path, mode: str, kept: list[int]) -> None:
    found, _ = kept_and_reasons(tmp_path, ("q", "a"), ("q", "b"), ("Q", "b"), ("other", "a"), conflicts=mode)
    assert [line for line, _ in found] == kept


def test_open_questions_may_have_many_answers(tmp_path: Path) -> None:
    rows = [{"prompt": "write a poem about rain", "completion": text} for text in ("drip drop", "pitter patter")]
    prepared, _ = prepare_file(write_rows(tmp_path / "rows.jsonl", rows))
    assert prepared.rows["train"] == 2
