"""Policies as the project file says them."""

import math

import pytest
from pydantic import ValidationError

from modelyard.registry.policy import Policy


def test_a_policy_from_the_project_file() -> None:
    policy = Policy.model_validate({"min": {"exact_match": 0.85}, "max": {"latency_p95_ms": 500}, "approvals": 2})
    assert (policy.min_rows, policy.use, policy.parity, policy.owner_may_approve) == (100, "value", True, False)


def test_the_digest_covers_the_demands_and_not_the_name() -> None:
    policy = Policy(min={"exact_match": 0.85})
    assert policy.digest == Policy(name="careful", min={"exact_match": 0.85}).digest
    assert policy.digest == Policy.model_validate(policy.model_dump()).digest
    for change in ({"min": {"exact_match": 0.8}}, {"parity": False}, {"approvals": 1}, {"use": "low"}, {"min_rows": 1}):
        assert policy.digest != Policy.model_validate(policy.model_dump() | change).digest


@pytest.mark.parametrize(
    ("metric", "smaller"),
    [("exact_match", False), ("latency_p95_ms", True), ("cost_nanousd", True), ("refusals", True), ("points", False)],
)
def test_the_unit_says_which_way_is_better(metric: str, smaller: bool) -> None:
    assert Policy(max={"refusals": 0.1}).smaller_is_better(metric) is smaller


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "at least one metric"),
        ({"min_rows": 10, "parity": True}, "at least one metric"),
        ({"max_regression": {"exact_match": -0.01}}, "0 or more"),
        ({"max_regression": {"exact_match": math.nan}}, "0 or more"),
        ({"min": {"exact_match": 0.5}, "min_rows": 0}, "greater than or equal to 1"),
        ({"min": {"exact_match": 0.5}, "approvals": -1}, "greater than or equal to 0"),
        ({"min": {"exact_match": 0.5}, "use": "high"}, "'value' or 'low'"),
        ({"minimum": {"exact_match": 0.5}}, "Extra inputs"),
    ],
)
def test_nonsense_is_refused(value: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Policy.model_validate(value)
