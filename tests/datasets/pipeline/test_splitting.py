"""The split of each row: by itself, by its group, or by its stratum."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.datasets.pipeline.splitting import cut, split_hashes, stratified
from modelyard.datasets.splits import SPLITS, split_of
from modelyard.datasets.texts import Texts

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
ODD_SHARES = [SHARES, {"train": 1.0}, {"train": 0.5, "test": 0.5}, {"train": 0.7, "validation": 0.2, "test": 0.1}]


@given(st.lists(st.text(), max_size=30), st.text(max_size=5), st.sampled_from(ODD_SHARES))
def test_the_fast_way_is_the_documented_one(keys: list[str], salt: str, shares: dict[str, float]) -> None:
    found = cut(split_hashes(Texts.of(keys), salt), shares)
    assert [SPLITS[number] for number in found] == [split_of(key, shares, salt) for key in keys]


def strata_of(sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    strata = np.repeat(np.arange(len(sizes)), sizes)
    hashes = split_hashes(Texts.of([f"row {number}" for number in range(len(strata))]), "")
    return hashes, strata


@pytest.mark.parametrize("shares", ODD_SHARES)
@pytest.mark.parametrize("size", [1, 2, 5, 10, 37, 100, 1000])
def test_every_stratum_gets_its_share_of_each_split(size: int, shares: dict[str, float]) -> None:
    hashes, strata = strata_of([size] * 40)
    found = cut(stratified(hashes, strata, [str(n) for n in range(40)], shares, ""), shares)
    for stratum in range(40):
        for name, share in shares.items():
            rows = int((found[strata == stratum] == SPLITS.index(name)).sum())
            assert abs(rows - share * size) <= 2, (stratum, name)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.lists(st.integers(0, 4), max_size=40))
def test_rows_at_the_end_move_no_earlier_row(old: list[int], new: list[int]) -> None:
    strata = np.array(old + new)
    hashes = split_hashes(Texts.of([f"row {number}" for number in range(len(strata))]), "")
    names = list("abcde")
    before = stratified(hashes[: len(old)], strata[: len(old)], names, SHARES, "s")
    assert (stratified(hashes, strata, names, SHARES, "s")[: len(old)] == before).all()


def test_a_group_stays_together() -> None:
    hashes = split_hashes(Texts.of([f"customer {number % 7}" for number in range(70)]), "")
    strata = np.arange(70) % 3
    found = cut(stratified(hashes, strata, ["a", "b", "c"], SHARES, ""), SHARES)
    for customer in range(7):
        assert len(set(found[customer::7].tolist())) == 1
