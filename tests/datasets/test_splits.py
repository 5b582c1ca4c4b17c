"""The rule that decides a row's split. The shipped base model was made under it, so its values are frozen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.datasets.splits import SPLITS, split_key, split_of


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("I am still waiting on my card?", "train"),
        ("question 6", "validation"),
        ("  QUESTION  8", "test"),
        ("", "train"),
    ],
)
def test_values_never_change(text: str, split: str) -> None:
    assert split_of(split_key(text)) == split


def test_case_spacing_and_width_share_a_key() -> None:
    assert split_key("  Where IS\tmy\u00a0\uff30arcel ") == "where is my parcel"


@given(st.text(), st.text())
def test_every_key_has_exactly_one_split(key: str, salt: str) -> None:
    assert split_of(key, salt=salt) in SPLITS
    assert split_of(key, {"train": 1.0}, salt) == "train"


def test_shares_come_out_as_asked() -> None:
    splits = [split_of(str(number)) for number in range(20_000)]
    assert splits.count("train") / 20_000 == pytest.approx(0.8, abs=0.01)
    assert splits.count("test") / 20_000 == pytest.approx(0.1, abs=0.01)


def test_a_salt_gives_other_splits() -> None:
    keys = [str(number) for number in range(1000)]
    assert [split_of(key) for key in keys] != [split_of(key, salt="2") for key in keys]
