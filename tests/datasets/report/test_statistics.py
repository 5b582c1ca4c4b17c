"""What a report counts: the same sums in whatever order rows come, right against a count by hand."""

import pickle
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.datasets.report.fields import MAX_FIELDS, FieldCounts
from modelyard.datasets.report.histogram import Histogram
from modelyard.datasets.report.labels import MAX_LABELS, LabelCounts
from modelyard.datasets.report.languages import SAMPLE_ROWS, Sample
from modelyard.datasets.report.statistics import Statistics, digest_hashes
from modelyard.datasets.rows import ANSWER, ASSISTANT, PROMPT, REJECTED, SYSTEM, USER, Rows
from modelyard.datasets.texts import Texts
from tests.datasets.report.made import Made, rows_of, table_of

Lengths = st.lists(st.integers(0, 3_000_000), max_size=40)


@given(Lengths, Lengths)
def test_histograms_add_up(first: list[int], second: list[int]) -> None:
    whole, one, two = Histogram(), Histogram(), Histogram()
    whole.add(np.array(first + second, np.int64))
    one.add(np.array(first, np.int64))
    two.add(np.array(second, np.int64))
    one.merge(two)
    assert one.as_dict() == whole.as_dict()
    told = whole.as_dict()
    for part in told["bins"]:
        end = part["to"] if part["to"] is not None else 10**9
        assert part["rows"] == sum(part["from"] <= length < end for length in first + second)
    if first + second:
        assert (told["rows"], told["total"]) == (len(first + second), sum(first + second))
        assert (told["min"], told["max"]) == (min(first + second), max(first + second))


@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=200))
def test_quantiles_lie_within_a_bin_of_the_right_ones(lengths: list[int]) -> None:
    histogram = Histogram()
    histogram.add(np.array(lengths))
    told = histogram.as_dict()
    for name, share in (("p50", 0.5), ("p95", 0.95)):
        exact = sorted(lengths)[max(int(np.ceil(share * len(lengths))) - 1, 0)]
        assert exact / 1.5 - 1 <= told[name] <= exact * 1.5 + 1


def test_fields_are_counted_as_a_loop_would() -> None:
    values: tuple[object, ...] = ("text", "", None, [], {}, 0, False, 0.0, [1], " ")
    random = Random(3)
    names = ("a", "b", "c", "d")
    blocks = [
        [{name: random.choice(values) for name in names if random.random() < 0.8} for _ in range(30)] for _ in range(5)
    ]
    counts = FieldCounts()
    for block in blocks:
        one = FieldCounts()
        one.add(block)
        counts.merge(one)
    rows = [row for block in blocks for row in block]
    told = counts.as_dict()
    assert told["rows"] == len(rows)
    for name in names:
        assert told["fields"][name]["missing"] == sum(name not in row for row in rows)
        assert told["fields"][name]["null"] == sum(name in row and row[name] is None for row in rows)
        assert told["fields"][name]["empty"] == sum(
            isinstance(row.get(name), str | list | dict) and not row[name] for row in rows
        )


def test_a_field_that_comes_late_was_missing_before() -> None:
    counts = FieldCounts()
    counts.add([{"a": 1}] * 3)
    counts.add([{"a": 1}, {"a": 1, "late": "x"}])
    counts.add([])
    assert counts.as_dict()["fields"]["late"] == {"missing": 4, "null": 0, "empty": 0, "share": 0.8}


def test_only_the_first_fields_are_counted() -> None:
    counts = FieldCounts()
    counts.add([{f"field {number}": number for number in range(100)}, {"other": 1}])
    assert list(counts.by_field) == [f"field {number}" for number in range(MAX_FIELDS)]


def test_few_labels_are_counted_exactly_by_split() -> None:
    counts = LabelCounts()
    counts.add("train", Texts.of(["refund"] * 3 + ["card"] * 5), 2)
    counts.add("test", Texts.of(["refund"] * 4))
    counts.add("validation", Texts.of([]))
    assert counts.as_dict() == {
        "distinct": 2,
        "is_exact": True,
        "limit": MAX_LABELS,
        "unlabelled": 2,
        "rows": {
            "refund": {"train": 3, "validation": 0, "test": 4},
            "card": {"train": 5, "validation": 0, "test": 0},
        },
    }


def test_many_labels_are_estimated_the_same_in_any_order() -> None:
    labels = [f"answer {number}" for number in range(20_000)]
    estimates = set()
    for seed in range(3):
        Random(seed).shuffle(labels)
        whole = LabelCounts()
        for begin in range(0, len(labels), 700):
            part = LabelCounts()
            part.add("train", Texts.of(labels[begin : begin + 700]))
            whole.merge(part)
        assert len(whole.kept) == MAX_LABELS
        estimates.add(whole.distinct)
        alone = LabelCounts()
        alone.add("train", Texts.of(labels))
        assert alone.kept == whole.kept
        told = whole.as_dict()
        assert (told["is_exact"], told["rows"]) == (False, {})
    (estimate,) = estimates
    assert estimate == pytest.approx(20_000, rel=0.1)


def test_the_sample_is_the_same_in_any_order_and_bounded() -> None:
    made = [Made(f"question number {number}", "answer") for number in range(SAMPLE_ROWS + 500)]
    rows, hashes = rows_of(made), digest_hashes(table_of(made)["digest"])
    whole, parts = Sample(), Sample()
    whole.add(rows, hashes)
    for begin in reversed(range(0, len(made), 400)):
        part = Sample()
        part.add(rows_of(made[begin : begin + 400]), hashes[begin : begin + 400])
        parts.merge(part)
    assert parts.texts == whole.texts
    assert [key for key, _ in whole.texts] == sorted(hashes.tolist())[:SAMPLE_ROWS]
    again = Sample()
    again.add(rows, hashes)
    again.add(rows_of([Made("more", "x")]), np.array([0], np.uint64))
    assert again.texts[0] == (0, "more")
    assert len(again.texts) == SAMPLE_ROWS


def test_languages_are_told_commonest_first() -> None:
    made = [Made("Where is the parcel that I ordered on Monday?", "It is on its way.")] * 3
    made.append(Made("Wo ist das Paket, das ich am Montag bestellt habe? Ich warte schon seit der Woche.", "Es kommt."))
    sample = Sample()
    sample.add(rows_of(made), np.arange(4, dtype=np.uint64))
    told = sample.as_dict()
    assert (told["sampled"], list(told["rows"].items())) == (4, [("en", 3), ("de", 1)])


def test_digest_hashes_read_any_slice_of_a_column() -> None:
    digests = [bytes([number]) * 32 for number in range(1, 8)]
    column = pa.chunked_array([pa.array(digests[:3], pa.binary(32)), pa.array(digests[3:], pa.binary(32))])
    expected = [int.from_bytes(digest[:8]) for digest in digests]
    assert digest_hashes(column).tolist() == expected
    assert digest_hashes(column.slice(2, 3)).tolist() == expected[2:5]
    assert digest_hashes(column.slice(0, 0)).tolist() == []


def test_lengths_and_turns_of_conversations() -> None:
    rows = Rows(
        line=np.array([1, 2]),
        turns=Texts.of(["Be kind.", "Grüß dich", "yes", "no, never", "only an answer"]),
        roles=np.array([SYSTEM, USER, ASSISTANT, ASSISTANT, ASSISTANT], np.uint8),
        parts=np.array([PROMPT, PROMPT, ANSWER, REJECTED, ANSWER], np.uint8),
        bounds=np.array([0, 4, 5]),
        ids=[None, None],
        desirable=[True, False],
    )
    statistics = Statistics()
    statistics.add_rows("train", rows, pa.array([b"\1" * 32, b"\2" * 32], pa.binary(32)))
    totals = {name: (histogram.rows, histogram.total) for name, histogram in statistics.chars.items()}
    # The system's turn is no part of the prompt, and the second row has neither a prompt nor a worse answer.
    assert totals == {"prompt": (1, 9), "answer": (2, 17), "rejected": (1, 9)}
    assert (statistics.turns.total, statistics.turns.max) == (4, 3)
    assert statistics.desirable == [1, 1]


def test_answers_are_labels_only_where_that_is_said() -> None:
    made = [Made("a", "yes"), Made("b", "yes"), Made("c", "no")]
    digests = table_of(made)["digest"]
    statistics = Statistics()
    statistics.add_rows("test", rows_of(made), digests)
    assert statistics.labels.distinct == 0
    statistics.add_rows("test", rows_of(made), digests, answers_are_labels=True)
    assert statistics.labels.as_dict()["rows"]["yes"] == {"train": 0, "validation": 0, "test": 2}


@given(st.lists(st.tuples(st.text(max_size=30), st.sampled_from("abc")), max_size=12), st.integers(0, 12))
def test_two_workers_count_what_one_would(texts: list[tuple[str, str]], cut: int) -> None:
    made = [Made(f"{prompt} {number}", "x", label=label) for number, (prompt, label) in enumerate(texts)]
    whole = _counted(made)
    first, second = _counted(made[:cut]), _counted(made[cut:])
    second = pickle.loads(pickle.dumps(second))
    first.merge(second)
    for name in ("tokens", "turns", "labels", "fields"):
        assert getattr(first, name).as_dict() == getattr(whole, name).as_dict()
    assert {name: one.as_dict() for name, one in first.chars.items()} == {
        name: one.as_dict() for name, one in whole.chars.items()
    }
    assert first.sample.texts == whole.sample.texts


def _counted(made: list[Made]) -> Statistics:
    statistics = Statistics()
    if made:
        statistics.add_fields([one._asdict() for one in made])
        statistics.add_rows("train", rows_of(made), table_of(made)["digest"])
        statistics.add_tokens(np.array([len(one.prompt) for one in made]))
    return statistics
