"""Samples and limits: the same every time, nested, fair, and independent of the order."""

import random
from collections import Counter
from typing import Any

import pytest

from modelyard.datasets.collection.config import CollectConfig
from modelyard.datasets.collection.reasons import PassedOver
from modelyard.datasets.collection.selection import Selection
from modelyard.ports.interaction import Interaction
from tests.adapters.records.values import an_interaction

# One user asks as much as all others together.
SAID = [an_interaction(id=f"answer-{n}", unit="loud" if n % 2 else f"user-{n % 100}") for n in range(1000)]


def selected(said: list[Interaction], **limits: Any) -> tuple[list[str], Counter[str]]:
    """The ids that are left, and why the others are not; the counts of closing agree with those of checking."""
    selection = Selection(CollectConfig(service="support", since="7d", tenants="all", **limits))
    reasons: Counter[str] = Counter()
    for given in said:
        try:
            selection.enter(given)
        except PassedOver as reason:
            reasons[str(reason)] += 1
    reasons.update({reason: count for reason, count in selection.close().items() if count})
    kept, again = [], Counter[str]()
    for given in said:
        try:
            selection.check(given)
            kept.append(given.id)
        except PassedOver as reason:
            again[str(reason)] += 1
    assert again == reasons
    assert len(kept) + reasons.total() == len(said)
    return kept, reasons


def test_without_limits_all_are_taken() -> None:
    assert selected(SAID) == ([given.id for given in SAID], Counter())


@pytest.mark.parametrize(
    "limits", [{"sample": 0.3}, {"max_rows": 40}, {"max_per_unit": 3}, {"sample": 0.5, "max_rows": 9}]
)
def test_the_order_of_arrival_does_not_matter(limits: dict[str, Any]) -> None:
    kept, reasons = selected(SAID, **limits)
    shuffled, again = selected(random.sample(SAID, len(SAID)), **limits)
    assert (sorted(shuffled), again) == (sorted(kept), reasons)


def test_a_sample_is_about_its_share_and_holds_the_smaller_ones() -> None:
    small, reasons = selected(SAID, sample=0.1)
    large, _ = selected(SAID, sample=0.3)
    assert 60 < len(small) < 145
    assert set(small) < set(large)
    assert reasons == {"not sampled": 1000 - len(small)}


def test_another_salt_is_another_sample() -> None:
    assert set(selected(SAID, sample=0.1)[0]) != set(selected(SAID, sample=0.1, salt="again")[0])


def test_exactly_so_many_rows_and_those_of_a_sample_first() -> None:
    kept, reasons = selected(SAID, max_rows=40)
    assert (len(kept), reasons) == (40, {"over max_rows": 960})
    assert set(kept) <= set(selected(SAID, sample=0.1)[0])
    assert kept == [given.id for given in SAID if given.id in set(kept)]
    assert len(selected(SAID, max_rows=5000)[0]) == 1000


def test_no_user_rules_the_set() -> None:
    unit_of = {given.id: given.unit for given in SAID}
    kept, reasons = selected(SAID, max_per_unit=3)
    assert Counter(unit_of[id] for id in kept) == dict.fromkeys(unit_of.values(), 3)
    assert reasons == {"over max_per_unit": 1000 - len(kept)}
    both, reasons = selected(SAID, max_per_unit=3, max_rows=20)
    assert set(both) < set(kept)
    assert reasons == {"over max_per_unit": 1000 - len(kept), "over max_rows": len(kept) - 20}


def test_what_came_in_between_is_not_taken_under_a_limit() -> None:
    selection = Selection(CollectConfig(service="support", since="7d", tenants="all", max_rows=5))
    for given in SAID[:5]:
        selection.enter(given)
    selection.close()
    with pytest.raises(PassedOver, match="over max_rows"):
        selection.check(SAID[5])
