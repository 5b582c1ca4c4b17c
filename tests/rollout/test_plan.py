"""Plans as the project file says them."""

import pytest
from pydantic import ValidationError

from modelyard.rollout.plan import STRATEGIES, PlanConfig


def test_steps_as_in_the_project_file() -> None:
    config = PlanConfig.model_validate(
        {
            "steps": [
                {"shadow": {"min_samples": 30}},
                {"canary": {"weight": "2.5%", "min_samples": 40}},
                {"canary": {"weight": 0.5}},
            ],
            "margin": 0.05,
            "max_hours": 2,
        }
    )
    plan = config.plan()
    assert [(step.kind, step.weight_bp, step.min_samples) for step in plan.steps] == [
        ("shadow", 0, 30),
        ("canary", 250, 40),
        ("canary", 5000, 50),
    ]
    assert (plan.margin, plan.max_hours, plan.alpha) == (0.05, 2.0, 0.05)


@pytest.mark.parametrize("strategy", ["canary", "shadow", "blue-green", "percentage"])
def test_strategies_are_shorthands(strategy: str) -> None:
    steps = PlanConfig.model_validate({"strategy": strategy}).plan().steps
    assert steps == STRATEGIES[strategy]
    assert all(0 < step.weight_bp < 10_000 for step in steps if step.kind == "canary")


def test_canary_is_the_default() -> None:
    assert PlanConfig().plan().steps == STRATEGIES["canary"]


@pytest.mark.parametrize("weight", ["25 %", "25%", 0.25])
def test_weights_in_both_forms(weight: object) -> None:
    plan = PlanConfig.model_validate({"steps": [{"canary": {"weight": weight}}]}).plan()
    assert plan.steps[0].weight_bp == 2500


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (25, "promotion"),
        ("100%", "promotion"),
        (0, "between 0 and 1"),
        ("-5%", "between 0 and 1"),
        ("0.25", "share between"),
        ("many%", "share between"),
        ("nan%", "between 0 and 1"),
        (True, "share between"),
        (None, "share between"),
        (0.00001, "basis point"),
    ],
)
def test_bad_weights_say_why(weight: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PlanConfig.model_validate({"steps": [{"canary": {"weight": weight}}]})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"strategy": "canary", "steps": [{"shadow": {}}]}, "exclude each other"),
        ({"steps": [{}]}, "either 'shadow' or 'canary'"),
        ({"steps": [{"shadow": {}, "canary": {"weight": 0.5}}]}, "either 'shadow' or 'canary'"),
        ({"steps": [{"canary": {"weight": 0.5}}, {"shadow": {}}]}, "come before"),
        ({"steps": [{"canary": {"weight": 0.5}}, {"canary": {"weight": 0.1}}]}, "only grow"),
        ({"alpha": 0}, "greater than 0"),
        ({"margin": -0.1}, "greater than or equal to 0"),
        ({"wait": 3}, "Extra inputs"),
    ],
)
def test_nonsense_is_refused(value: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PlanConfig.model_validate(value)


def test_the_schema_names_both_forms_of_a_weight() -> None:
    schema = PlanConfig.model_json_schema()
    kinds = [form["type"] for form in schema["$defs"]["CanaryConfig"]["properties"]["weight"]["anyOf"]]
    assert kinds == ["number", "string"]
