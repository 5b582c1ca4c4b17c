"""Length balancing: the share holds for what stays, and no more goes than must."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from modelyard.core.errors import DataInvalid
from modelyard.datasets.balance import balance, largest_cap
from modelyard.datasets.index import Index
from modelyard.datasets.quality.config import BalanceConfig


def index_of(num_chars: list[int], split: list[int] | None = None) -> Index:
    count = len(num_chars)
    return Index(
        prompt_key=np.zeros((count, 2), np.uint64),
        answer_key=np.zeros((count, 2), np.uint64),
        id_key=np.zeros(count, np.uint64),
        split=np.array(split or [0] * count, np.int8),
        num_chars=np.array(num_chars, np.int64),
    )


def hashes_of(count: int, seed: int = 0) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
    return np.random.default_rng(seed).permutation(count).astype(np.uint64)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=6), st.floats(0.15, 1.0))
def test_the_cap_is_the_largest_that_holds_the_share(sizes: list[int], share: float) -> None:
    counts = np.array(sizes, np.int64)
    assume((counts > 0).sum() * share >= 1)

    def holds(cap: int) -> bool:
        stay = np.minimum(counts, cap)
        return bool(stay.max() <= share * stay.sum() * (1 + 1e-9))

    best = max(cap for cap in range(1, int(counts.max()) + 1) if holds(cap))
    assert largest_cap(counts, share) == best


def test_a_share_that_is_met_exactly_is_met() -> None:
    assert largest_cap(np.array([29, 24, 24, 23]), 0.29) == 29
    assert largest_cap(np.array([10, 10]), 0.5) == 10


def test_the_fullest_bucket_is_cut_and_told() -> None:
    index = index_of([10] * 8 + [100] * 2 + [500] * 2)
    drops = balance(index, np.ones(12, bool), hashes_of(12), BalanceConfig(max_share=0.5, bounds=(64, 256)))
    assert len(drops) == 4
    assert (drops.places < 8).all()
    assert drops.reason(0, str) == "length balance: rows from 0 characters take more than their share of 50%"


def test_a_length_at_a_bound_begins_a_bucket() -> None:
    index = index_of([63, 63, 63, 64])
    drops = balance(index, np.ones(4, bool), hashes_of(4), BalanceConfig(max_share=0.5, bounds=(64,)))
    assert len(drops) == 2
    assert 3 not in drops.places


def test_held_out_and_lost_rows_neither_count_nor_go() -> None:
    index = index_of([10] * 4 + [100] * 2, [0, 0, 1, 2, 0, 0])
    config = BalanceConfig(max_share=0.5, bounds=(64,))
    assert len(balance(index, np.ones(6, bool), hashes_of(6), config)) == 0
    alive = np.array([True, True, True, True, True, False])
    drops = balance(index, alive, hashes_of(6), config)
    assert len(drops) == 1
    assert drops.places[0] in (0, 1)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([1, 100, 1000]), min_size=3, max_size=40), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_makes_no_difference(lengths: list[int], rng: "np.random.Generator") -> None:
    assume(len(set(lengths)) > 1)
    hashes = hashes_of(len(lengths), seed=len(lengths))
    config = BalanceConfig(max_share=0.5)
    order = list(range(len(lengths)))
    rng.shuffle(order)
    alive = np.ones(len(lengths), bool)
    first = balance(index_of(lengths), alive, hashes, config)
    second = balance(index_of([lengths[place] for place in order]), alive, hashes[order], config)
    assert set(hashes[first.places].tolist()) == set(hashes[order][second.places].tolist())
    assert (np.diff(second.places) > 0).all()


def test_what_no_dropping_can_balance_is_told() -> None:
    with pytest.raises(DataInvalid, match="1 of the 2 buckets"):
        balance(index_of([10] * 5), np.ones(5, bool), hashes_of(5), BalanceConfig(max_share=0.5, bounds=(64,)))


def test_no_rows_are_balanced() -> None:
    assert len(balance(index_of([]), np.zeros(0, bool), hashes_of(0), BalanceConfig())) == 0
