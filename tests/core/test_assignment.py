"""Assignment is sticky, even and monotone in the weight."""

from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.assignment import FULL, position


@given(st.text(), st.text())
def test_a_unit_keeps_its_place(salt: str, unit: str) -> None:
    assert 0 <= position(salt, unit) < FULL
    assert position(salt, unit) == position(salt, unit)


@given(st.integers(0, FULL), st.integers(0, FULL), st.text(max_size=8))
def test_ramping_up_only_adds_units(small: int, large: int, unit: str) -> None:
    small, large = sorted((small, large))
    assert not (position("s", unit) < small) or position("s", unit) < large


def test_the_share_is_the_weight() -> None:
    inside = sum(position("salt", f"user-{number}") < 2_500 for number in range(20_000))
    assert 4_700 < inside < 5_300


def test_another_salt_is_another_draw() -> None:
    both = sum(
        position("one", f"user-{number}") < 5_000 and position("two", f"user-{number}") < 5_000
        for number in range(20_000)
    )
    assert 4_700 < both < 5_300
