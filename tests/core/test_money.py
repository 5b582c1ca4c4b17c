"""Money is exact."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.money import NANO, format_usd, nanousd, seconds_cost, tokens_cost


@given(st.integers(0, 10**15))
def test_dollars_survive_the_way_there_and_back(amount: int) -> None:
    assert nanousd(Decimal(amount) / NANO) == amount
    assert nanousd(format_usd(amount).removeprefix("$")) == amount


def test_a_tenth_is_a_tenth() -> None:
    assert nanousd("0.1") * 3 == nanousd("0.3")


@pytest.mark.parametrize(("tokens", "price", "cost"), [(0, 5, 0), (1, 1, 1), (1_000_000, 7, 7), (1_000_001, 7, 8)])
def test_no_token_is_free_by_rounding(tokens: int, price: int, cost: int) -> None:
    assert tokens_cost(tokens, price) == cost


def test_seconds_cost_their_share_of_an_hour() -> None:
    assert seconds_cost(1800, nanousd("0.50")) == nanousd("0.25")
    assert seconds_cost(0.1, 36_000) == 1


@pytest.mark.parametrize(("amount", "text"), [(0, "$0.00"), (NANO, "$1.00"), (1_230_000, "$0.00123")])
def test_money_reads_well(amount: int, text: str) -> None:
    assert format_usd(amount) == text
