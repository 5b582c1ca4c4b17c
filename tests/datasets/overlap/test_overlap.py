"""Rows that repeat what must not be learned."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.datasets.duplicates.shingles import jaccards, shingles_of
from modelyard.datasets.overlap.overlap import drop_overlap
from modelyard.datasets.overlap.reference import Reference
from modelyard.datasets.rows import ANSWER, ASSISTANT, PROMPT, REJECTED, SYSTEM, USER
from modelyard.datasets.texts import Texts
from tests.datasets.conversations import asked

LONG = "the quick brown fox jumps over the lazy dog and then it runs home to sleep"
SHORT = "why is my parcel late"
REFERENCE = Reference.of(Texts.of([LONG, SHORT, ""]), ngram=12, threshold=0.8)


@pytest.mark.parametrize(
    ("prompt", "answer", "reason"),
    [
        ("Why is  my PARCEL late", "x", "leak: the same text as one of theirs"),
        ("he said: " + LONG[4:], "x", "leak: 12 words in a row are theirs: 'quick brown fox jumps"),
        ("hello", "first " + LONG.upper(), "leak: 12 words in a row are theirs"),
        ("so, why is my parcel late", "x", "leak: similarity 0.82 to one of theirs"),
        ("the quick brown fox jumps over the lazy dog and naps", "x", None),
        ("why is my card late", "x", None),
        ("unrelated", "nothing", None),
    ],
)
def test_what_repeats_goes(prompt: str, answer: str, reason: str | None) -> None:
    rejected = drop_overlap(asked(("fine", "x"), (prompt, answer)), REFERENCE, "leak").rejected
    if reason is None:
        assert rejected == {}
    else:
        assert list(rejected) == [1]
        assert rejected[1].startswith(reason)


def test_nothing_repeats_an_empty_reference() -> None:
    reference = Reference.of(Texts.of([]), ngram=12, threshold=0.8)
    assert drop_overlap(asked((LONG, "x"), ("", "")), reference, "leak").rejected == {}


def test_nearness_can_be_turned_off() -> None:
    reference = Reference.of(Texts.of([SHORT]), ngram=12, threshold=None)
    assert drop_overlap(asked(("so, why is my parcel late", "x")), reference, "leak").rejected == {}


def test_a_pickled_reference_finds_the_same() -> None:
    again = pickle.loads(pickle.dumps(REFERENCE))
    rows = asked((SHORT, "x"), ("so, " + SHORT, "x"), ("x", LONG), ("x", "y"))
    first, second = drop_overlap(rows, REFERENCE, "leak"), drop_overlap(rows, again, "leak")
    assert sorted(first.rejected) == [0, 1, 2]
    assert second.rejected == first.rejected
    assert first.findings == {"same text": 1, "shared words": 1, "near text": 1}


def test_the_shared_words_are_told_in_any_script() -> None:
    reference = Reference.of(
        Texts.of(["Größe: \u201edas ist ein Haus\u201c 中文字", "ÇA VA?"]), ngram=5, threshold=None
    )
    rows = asked(
        ("Oh, größe das IST \u2013 ein haus!", "x"),
        ("y", "ein Haus 中文字 und"),
        ("y", "ein Haus 中文"),
        ("Ça va?", "z"),
    )
    assert drop_overlap(rows, reference, "leak").rejected == {
        0: "leak: 5 words in a row are theirs: 'grösse das ist \u2013 ein haus'",
        1: "leak: 5 words in a row are theirs: 'ein haus 中文字'",
        3: "leak: the same text as one of theirs",
    }


def test_the_rejected_answer_may_not_leak_and_the_system_turn_may() -> None:
    rows = asked(("hello", LONG), ("hello", "fine"))
    worse = replace(rows, parts=np.array([PROMPT, REJECTED, PROMPT, ANSWER], np.uint8))
    assert list(drop_overlap(worse, REFERENCE, "leak").rejected) == [0]
    system = replace(rows, roles=np.array([USER, SYSTEM, USER, ASSISTANT], np.uint8))
    assert drop_overlap(system, REFERENCE, "leak").rejected == {}


def test_a_reference_that_says_one_thing_often_is_as_one_that_says_it_once() -> None:
    often = Reference.of(Texts.of([SHORT, SHORT.upper(), LONG] * 50), ngram=12, threshold=0.8)
    once = Reference.of(Texts.of([SHORT, LONG]), ngram=12, threshold=0.8)
    assert len(often.whole) == len(once.whole) == 2
    assert often.keys[0].tolist() == once.keys[0].tolist()


def test_no_run_is_taken_for_another_among_many() -> None:
    rng = np.random.default_rng(3)
    words = np.array([f"w{number}" for number in range(5000)])
    texts = [" ".join(words[rng.integers(0, 5000, 40)]) for _ in range(3000)]
    reference = Reference.of(Texts.of(texts[:1500]), ngram=12, threshold=0.8)
    rows = asked(*((text, "x") for text in texts[1500:]), *(("y", f"so {text}") for text in texts[:1500]))
    assert sorted(drop_overlap(rows, reference, "leak").rejected) == list(range(1500, 3000))


def test_near_prompts_are_found_by_their_exact_similarity() -> None:
    rng = np.random.default_rng(5)
    words = np.array([f"word{number}" for number in range(400)])
    originals = [words[rng.integers(0, 400, 11)] for _ in range(500)]
    changed = [np.where(np.arange(11) == rng.integers(0, 11), "other", one) for one in originals]
    texts, near = [" ".join(one) for one in originals], [" ".join(one) for one in changed]
    reference = Reference.of(Texts.of(texts), ngram=12, threshold=0.6)
    both = shingles_of(Texts.of([*texts, *near]), 2)
    similar = jaccards(both, np.arange(500), np.arange(500, 1000)) >= 0.6
    found = drop_overlap(asked(*((text, "x") for text in near)), reference, "leak").rejected
    wanted = set(np.flatnonzero(similar).tolist())
    assert len(wanted) > 300
    assert set(found) <= wanted
    assert len(found) >= 0.97 * len(wanted)


WORDS = st.lists(st.sampled_from(["alpha", "beta", "gamma", "delta"]), max_size=16)


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS, max_size=4), WORDS, WORDS)
def test_every_shared_run_is_found(texts: list[list[str]], prompt: list[str], answer: list[str]) -> None:
    runs = {tuple(words[at : at + 5]) for words in texts for at in range(len(words) - 4)}
    ours = [*prompt, *answer]
    shared = any(tuple(ours[at : at + 5]) in runs for at in range(len(ours) - 4))
    equal = prompt in [words for words in texts if words]
    reference = Reference.of(Texts.of([" ".join(words) for words in texts]), ngram=5, threshold=None)
    rejected = drop_overlap(asked((" ".join(prompt), " ".join(answer))), reference, "leak").rejected
    assert bool(rejected) == (shared or equal)
