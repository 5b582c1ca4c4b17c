"""No leak: after any preparation no two splits hold texts that are the same or nearly so, by a look at every pair."""

import itertools
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.datasets.duplicates.folding import fold
from modelyard.datasets.duplicates.shingles import shingles_of
from modelyard.datasets.preparation import read_split
from modelyard.datasets.splits import SPLITS
from modelyard.datasets.texts import Texts
from modelyard.ports.dataset import Example
from tests.datasets.messages import labelled, prepare_file, text_in, write_rows

WORDS = [f"word{number}" for number in range(30)]
ANCHORS = labelled(*((text_in(split, number), "anchor") for split in SPLITS for number in range(3)))
SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}

Family = tuple[list[str], list[list[tuple[int, str]]]]
seeds = st.lists(st.sampled_from(WORDS), min_size=12, max_size=24)
changes = st.lists(st.tuples(st.integers(0, 11), st.sampled_from([*WORDS, "WORD1", " word2  "])), max_size=2)
families = st.tuples(seeds, st.lists(changes, min_size=1, max_size=5))


def variants(family: Family) -> list[str]:
    """A text and others that differ from it in a word or two, in case, or in white space."""
    words, all_changes = family
    texts = []
    for change in all_changes:
        changed = list(words)
        for place, word in change:
            changed[place] = word
        texts.append(" ".join(changed))
    return texts


def prepared(rows: list[tuple[str, str]], **configuration: object) -> dict[str, list[Example]]:
    with tempfile.TemporaryDirectory() as folder:
        path = write_rows(Path(folder) / "rows.jsonl", [*ANCHORS, *labelled(*rows)])
        _, out = prepare_file(path, splits=SHARES, **configuration)
        return {split: list(read_split(out, split)) for split in SPLITS}


def similarity(left: set[int], right: set[int]) -> float:
    return len(left & right) / len(left | right)


# The same examples every time: MinHash finds nearly all pairs, and a run must not fail by chance.
@given(st.lists(families, min_size=1, max_size=6))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_no_pair_of_alike_texts_is_parted_by_a_split(
    found: list[tuple[list[str], list[list[tuple[int, str]]]]],
) -> None:
    rows = [(text, f"label {number % 2}") for number, text in enumerate(itertools.chain(*map(variants, found)))]
    by_split = prepared(rows)
    sets = {}
    for split, examples in by_split.items():
        texts = [example.prompt[0].content for example in examples]
        shingles = shingles_of(fold(Texts.of(texts)), 2)
        bounds = itertools.pairwise(shingles.offsets.tolist())
        sets[split] = [set(shingles.hashes[begin:end].tolist()) for begin, end in bounds]
    for one, other in itertools.combinations(SPLITS, 2):
        assert all(similarity(left, right) < 0.8 for left in sets[one] for right in sets[other])


def test_stratified_splits_hold_their_share_of_every_label_and_new_rows_move_none() -> None:
    rows = [(f"{' '.join(WORDS[n % 7 : n % 7 + 5])} number{n} of{n * 7} {n * n}", f"label{n % 4}") for n in range(400)]
    configuration = {"stratify": True, "label": "label", "near_duplicates": None}
    before = prepared(rows[:300], **configuration)
    for split, share in SHARES.items():
        labels = Counter(example.label for example in before[split])
        for label in ("label0", "label1", "label2", "label3"):
            assert abs(labels[label] - 75 * share) <= 2
    after = {one.id: split for split, examples in prepared(rows, **configuration).items() for one in examples}
    assert all(after[one.id] == split for split, examples in before.items() for one in examples)


def test_rows_of_a_group_stay_together() -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = [{"text": f"question {n} about {n * n}", "label": "a", "customer": f"c{n % 40}"} for n in range(400)]
        path = write_rows(Path(folder) / "rows.jsonl", rows)
        _, out = prepare_file(path, splits=SHARES, group="customer", near_duplicates=None)
        place = {row.line: split for split in SPLITS for row in read_split(out, split)}
    by_customer = {n: {place[line] for line in place if (line - 1) % 40 == n} for n in range(40)}
    assert all(len(splits) == 1 for splits in by_customer.values())
    assert {split for splits in by_customer.values() for split in splits} == set(SPLITS)
