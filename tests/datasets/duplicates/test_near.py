"""Shingles, bands, and the pairs that they find."""

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.datasets.duplicates import near
from modelyard.datasets.duplicates.bands import BandStore
from modelyard.datasets.duplicates.config import NearDuplicatesConfig
from modelyard.datasets.duplicates.folding import fold, hash128
from modelyard.datasets.duplicates.minhash import NO_KEY, band_keys, banding
from modelyard.datasets.duplicates.near import drop_near_duplicates
from modelyard.datasets.duplicates.shingles import jaccards, shingles_of
from modelyard.datasets.index import Drops, Index
from modelyard.datasets.texts import Texts
from modelyard.ports.workers import Inline

WORDS = [f"word{number}" for number in range(60)]
CONFIG = NearDuplicatesConfig()


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


def sets_of(texts: list[str], words: int = 2) -> list[set[int]]:
    shingles = shingles_of(fold(Texts.of(texts)), words)
    return [set(shingles.hashes[a:b].tolist()) for a, b in itertools.pairwise(shingles.offsets.tolist())]


def near_pairs(texts: list[str], threshold: float) -> list[tuple[int, int]]:
    sets = sets_of(texts)
    pairs = itertools.combinations(range(len(texts)), 2)
    return [(a, b) for a, b in pairs if len(sets[a] & sets[b]) >= threshold * len(sets[a] | sets[b]) > 0]


def test_shingles_are_the_words_and_their_pairs() -> None:
    sets = sets_of(["a b a b", "", "!?", "b a", "don't", "dont", "\u6f22\u5b57", "don\u2019t", "a\u2014b"])
    assert [len(one) for one in sets] == [4, 0, 0, 3, 1, 1, 3, 1, 3]
    assert sets[3] < sets[0]
    assert sets[4] == sets[5] == sets[7]


def test_signs_and_punctuation_of_any_script_part_words() -> None:
    sets = sets_of(["\u00aba\u00bb b", "a b", "\u00ab", "\u3000a\u3002b", "caf\u00e9", "\u20ac", "a\u2019", "\u1ea1"])
    assert sets[0] == sets[1] == sets[3]
    assert [len(one) for one in sets] == [3, 3, 0, 3, 1, 1, 1, 1]


@given(st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=8), st.integers(1, 4))
def test_runs_are_as_long_as_asked(words: list[str], longest: int) -> None:
    runs = {tuple(words[a : a + n]) for n in range(1, longest + 1) for a in range(len(words) - n + 1)}
    assert len(sets_of([" ".join(words)], longest)[0]) == len(runs)


def test_shingles_and_bands_never_change() -> None:
    """They decide which pairs meet, so they must not move with a package or a machine."""
    folded = Texts.of(["where is"])
    assert sorted(shingles_of(folded, 2).hashes.tolist()) == [
        1034929690136305077,
        7541756739188411357,
        18013294832381930293,
    ]
    assert band_keys(folded, CONFIG)[0, :2].tolist() == [11556446082328765707, 7793737154292582347]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(planted(5, 8)), min_size=2, max_size=6))
def test_similarity_is_exact(texts: list[str]) -> None:
    shingles, sets = shingles_of(fold(Texts.of(texts)), 2), sets_of(texts)
    left, right = np.array(list(itertools.combinations(range(len(texts)), 2))).T
    found = jaccards(shingles, left.copy(), right.copy())
    assert found.tolist() == [len(sets[a] & sets[b]) / len(sets[a] | sets[b]) for a, b in zip(left, right, strict=True)]


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 1.0])
def test_banding_promises_its_recall(threshold: float) -> None:
    bands, rows = banding(threshold)
    assert 1 - (1 - threshold**rows) ** bands >= 0.99


@pytest.mark.parametrize("threshold", [0.6, 0.7, 0.8])
def test_bands_meet_nearly_every_pair_above_the_threshold(threshold: float) -> None:
    texts = planted(seed=1, num_rows=900)
    keys = band_keys(fold(Texts.of(texts)), NearDuplicatesConfig(threshold=threshold))
    pairs = near_pairs(texts, threshold)
    met = sum(bool((keys[a] == keys[b]).any()) for a, b in pairs)
    assert len(pairs) > 50
    assert met / len(pairs) >= 0.98


def test_a_text_without_words_meets_nobody() -> None:
    assert (band_keys(Texts.of(["", "!?"]), CONFIG) == NO_KEY).all()


def dropped(
    folder: Path, texts: list[str], splits: list[int], answers: list[str], config: NearDuplicatesConfig = CONFIG
) -> tuple[Drops, np.ndarray]:
    folded = fold(Texts.of(texts))
    index = Index(
        prompt_key=hash128(folded),
        answer_key=hash128(Texts.of(answers)),
        id_key=np.zeros(len(texts), np.uint64),
        split=np.array(splits, np.int8),
        num_chars=folded.num_bytes,
    )
    bands = BandStore(folder)
    bands.append(band_keys(folded, config))
    found = drop_near_duplicates(index, np.ones(len(texts), bool), bands, folded.take, config, workers=Inline())
    bands.close()
    return found


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_two_kept_rows_are_near(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    texts = data.draw(st.lists(st.sampled_from(planted(2, 12)), min_size=1, max_size=12, unique=True))
    splits = data.draw(st.lists(st.integers(0, 2), min_size=len(texts), max_size=len(texts)))
    drops, similar = dropped(tmp_path_factory.mktemp("near"), texts, splits, ["x"] * len(texts))
    gone = set(drops.places.tolist())
    assert not [pair for pair in near_pairs(texts, 0.8) if not gone & set(pair)]
    for place, witness in zip(drops.places.tolist(), drops.witness.tolist(), strict=True):
        assert witness not in gone
        assert (splits[witness], -witness) > (splits[place], -place)
    assert similar.sum() == len(gone)


LONG = "my parcel with the blue kettle has still not arrived at my sister's house"


@pytest.mark.parametrize(
    ("splits", "answers", "on", "gone"),
    [
        ([0, 0], "aa", "prompt", [1]),
        ([0, 0], "ab", "prompt", []),
        ([0, 2], "ab", "prompt", [0]),
        ([2, 1], "aa", "prompt", [1]),
        ([0, 0], "ab", "conversation", [1]),
    ],
)
def test_who_gives_way(tmp_path: Path, splits: list[int], answers: str, on: str, gone: list[int]) -> None:
    config = NearDuplicatesConfig.model_validate({"on": on})
    drops, _ = dropped(tmp_path, [LONG, f"{LONG} please"], splits, list(answers), config)
    assert drops.places.tolist() == gone


@pytest.mark.parametrize("batch", [1, 7, 100_000])
def test_batches_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    texts = planted(seed=3, num_rows=200)
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    whole, _ = dropped(folders[0], texts, [0] * len(texts), ["x"] * len(texts))
    monkeypatch.setattr(near, "_BATCH_PAIRS", batch)
    parts, _ = dropped(folders[1], texts, [0] * len(texts), ["x"] * len(texts))
    assert (whole.places.tolist(), whole.witness.tolist()) == (parts.places.tolist(), parts.witness.tolist())
    assert len(whole) > 20


def test_a_large_bucket_is_worked_through(tmp_path: Path) -> None:
    """Thousands of rows of one template: all but one go, without comparing all with all."""
    frame = "dear customer number {} your parcel has been sent and will be with you on monday at the latest thank you"
    texts = [frame.format(number) for number in range(5000)]
    drops, similar = dropped(tmp_path, texts, [0] * len(texts), ["x"] * len(texts))
    assert len(drops) == len(texts) - 1
    assert similar[0] == len(texts) - 1
