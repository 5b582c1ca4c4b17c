"""The price book of a device."""

import pytest
from pydantic import ValidationError

from modelyard.project.model import ComputeConfig


@pytest.mark.parametrize(
    ("fields", "price"),
    [
        ({}, "0"),
        ({"device_hour": "2.50"}, "2.50"),
        ({"prices": {"on_demand": "2.50", "spot": "0.90"}}, "2.50"),
        ({"device_hour": "2.50", "prices": {"on_demand": "2.50"}}, "2.50"),
        ({"device_hour": "2.50", "prices": {"spot": "0.90"}, "pricing": "spot"}, "0.90"),
        ({"prices": {"reserved": "0"}, "pricing": "reserved", "device_hour": "2.50"}, "0"),
    ],
)
def test_the_price_is_that_of_how_it_is_paid(fields: dict[str, object], price: str) -> None:
    assert ComputeConfig.model_validate(fields).device_price == price


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"pricing": "spot"}, "prices has no spot"),
        ({"device_hour": "1", "prices": {"on_demand": "2"}}, r"device_hour \(1\) and prices.on_demand \(2\)"),
        ({"prices": {"spot": 0.9}}, "valid string"),
        ({"pricing": "weekly"}, "'on_demand', 'spot' or 'reserved'"),
    ],
)
def test_a_price_book_that_contradicts_itself_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ComputeConfig.model_validate(fields)
