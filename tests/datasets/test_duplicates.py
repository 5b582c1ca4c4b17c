"""The steps that compare rows: exact duplicates, conflicts, near-duplicates."""

import itertools
import random
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.datasets.near_duplicates import jaccard
from modelyard.datasets.preparation import read_split
from modelyard.datasets.shingles import band_hashes, make_shingles, rows_per_band
from modelyard.datasets.splits import SPLITS, split_key, split_of
from tests.datasets.messages import labelled, prepare_file, quarantine, text_in, write_rows

LONG = "my parcel with the blue kettle has still not arrived at my sister's house"
FROZEN_HASHES = [1940848846483342034, 8233449126745232506, 13787082383278084325]
FROZEN_BANDS = [6955841399621785122, 6114821492263490335]
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
    assert reasons == [(3, "exact duplicate: same prompt and answer as line 1")]


def test_majority_wins_a_conflict_by_all_its_copies(tmp_path: Path) -> None:
    kept, reasons = kept_and_reasons(tmp_path, ("q", "a"), ("q", "b"), ("Q", "b"), ("other", "a"))
    assert kept == [(2, "q"), (4, "other")]
    assert [line for line, _ in reasons] == [3, 1]
    assert reasons[1][1] == "minority answer: 1 of the rows with this prompt say so, 2 say otherwise"


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
    assert [row["reason"] for row in quarantine(out)] == ["repeated id: an earlier row has the id '1' too"]


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


WORDS = [f"word{number}" for number in range(60)]


def planted(seed: int, num_rows: int) -> list[str]:
    rng = random.Random(seed)
    texts = []
    for _ in range(num_rows):
        words = [rng.choice(WORDS) for _ in range(rng.randrange(6, 25))]
        texts.append(" ".join(words))
        if rng.random() < 0.5:
            changed = list(words)
            for _ in range(rng.randrange(1, 3)):
                changed[rng.randrange(len(changed))] = rng.choice(WORDS)
            texts.append(" ".join([*changed, *rng.choices(WORDS, k=rng.randrange(2))]))
    return texts


def test_bands_meet_nearly_every_pair_above_the_threshold() -> None:
    texts = planted(seed=1, num_rows=900)
    shingles = make_shingles(pl.Series(texts))
    bands = band_hashes(shingles, 0.8)
    sets = [shingles.of(row) for row in range(len(texts))]
    near = [(a, b) for a, b in itertools.combinations(range(len(texts)), 2) if jaccard(sets[a], sets[b]) >= 0.8]
    met = sum(bool((bands[a] == bands[b]).any()) for a, b in near)
    assert len(near) > 100
    assert met / len(near) >= 0.98


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 1.0])
def test_banding_promises_its_recall(threshold: float) -> None:
    width = rows_per_band(threshold)
    assert 1 - (1 - threshold**width) ** (128 // width) >= 0.99


def test_shingles_are_the_words_and_their_pairs() -> None:
    shingles = make_shingles(pl.Series(["a b a b", "", "!?", "b a", "don't", "dont", "\u6f22\u5b57"]))
    assert [len(shingles.of(row)) for row in range(7)] == [4, 0, 0, 3, 1, 1, 3]
    assert shingles.of(3) < shingles.of(0)
    assert shingles.of(4) == shingles.of(5)


def test_shingles_never_change() -> None:
    """Their hashes decide which pairs meet, so they must not move with a package or a machine."""
    assert sorted(make_shingles(pl.Series(["where is"])).of(0)) == FROZEN_HASHES
    assert band_hashes(make_shingles(pl.Series(["where is"])), 0.8)[0, :2].tolist() == FROZEN_BANDS


@given(st.lists(st.sampled_from(planted(seed=2, num_rows=6)), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_no_two_kept_rows_are_near(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        kept, _ = kept_and_reasons(Path(folder), *((text, "x") for text in texts))
    shingles = make_shingles(pl.Series([split_key(text) for _, text in kept]))
    sets = [shingles.of(row) for row in range(len(kept))]
    assert all(jaccard(a, b) < 0.8 for a, b in itertools.combinations(sets, 2))
