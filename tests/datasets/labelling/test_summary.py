"""A job in numbers."""

from pathlib import Path

import msgspec
import pytest

from modelyard.datasets.labelling.summary import agreement, summarise
from tests.datasets.labelling.jobs import make_job, say


def test_how_far_each_person_is(tmp_path: Path) -> None:
    folder = make_job(tmp_path / "tone")
    say(folder, "ada", {"t0": "good", "t1": "bad"})
    say(folder, "ada", {"t2": ""}, state="skipped")
    say(folder, "bob", {"t0": "bad"})
    found = summarise(folder)
    assert [(one.person, one.num_given, one.num_skipped) for one in found.people] == [("ada", 2, 1), ("bob", 1, 0)]
    assert {how: number for how, number in found.outcomes.items() if number} == {
        "single": 1, "disagreed": 1, "waiting": 2
    }  # fmt: skip


def test_agreement_by_hand(tmp_path: Path) -> None:
    # Labels good, bad, mixed; mixed is never given. Two people, 10 tasks: Cohen's table [[4, 2], [1, 3]].
    folder = make_job(tmp_path / "tone", num_tasks=11)
    first = ["good"] * 6 + ["bad"] * 4
    second = ["good"] * 4 + ["bad"] * 2 + ["good"] + ["bad"] * 3
    say(folder, "ada", {f"t{place}": label for place, label in enumerate(first)} | {"t10": "good"})
    say(folder, "bob", {f"t{place}": label for place, label in enumerate(second)})
    found = agreement(folder)
    assert (found.people, found.num_shared, found.raw.value) == (["ada", "bob"], 10, pytest.approx(0.7))
    (pair,) = found.pairs
    assert (pair.num_tasks, pair.cohen_kappa.value) == (10, pytest.approx((0.7 - 0.5) / 0.5))
    assert found.raw.low is not None
    assert found.raw.high is not None
    assert found.raw.low <= 0.7 <= found.raw.high
    assert [(one.label, one.num_given, one.specific) for one in found.labels] == [
        ("good", 12, pytest.approx(8 / 11)), ("bad", 9, pytest.approx(6 / 9)), ("mixed", 0, None)
    ]  # fmt: skip
    assert [(one.labels, one.num_pairs) for one in found.confused] == [(("good", "bad"), 3)]
    # JSON knows no NaN.
    assert b"NaN" not in msgspec.json.encode(found)


def test_nothing_to_compare(tmp_path: Path) -> None:
    folder = make_job(tmp_path / "tone")
    assert (agreement(folder).num_shared, agreement(folder).raw.value) == (0, None)
    say(folder, "ada", {"t0": "good"})
    assert (agreement(folder).num_shared, agreement(folder).pairs) == (0, [])


def test_free_texts_are_compared_too(tmp_path: Path) -> None:
    folder = make_job(tmp_path / "tone", labels=())
    say(folder, "ada", {"t0": "Yes", "t1": "no", "t2": "maybe"})
    say(folder, "bob", {"t0": "yes ", "t1": "No", "t2": "no"})
    found = agreement(folder)
    assert (found.raw.value, found.labels) == (pytest.approx(2 / 3), [])
    assert [one.labels for one in found.confused] == [("no", "maybe")]
