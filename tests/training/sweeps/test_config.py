"""What a sweep may say, and what it is told where it says something else."""

from typing import Any

import pytest
from pydantic import ValidationError

from modelyard.core.errors import ProjectInvalid, RecipeInvalid
from modelyard.project.loading import parse_project
from modelyard.training.recipe import Recipe
from modelyard.training.sweeps.config import SweepConfig

RECIPE = Recipe(base="tiny", max_steps=20, validate_every=5)


def config(**fields: Any) -> SweepConfig:
    return SweepConfig.model_validate({"recipe": "r", "search": {"rank": [4, 8]}} | fields)


def test_a_grid_is_every_combination() -> None:
    found = config(search={"rank": [4, 8], "schedule": ["cosine", "linear"], "dora": [True, False]})
    points = list(found.grid())
    assert (len(points), found.num_trials) == (8, 8)
    assert points[1] == {"rank": 4, "schedule": "cosine", "dora": False}
    assert len({str(point) for point in points}) == 8


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"search": {"learning_rat": [1]}}, "'learning_rat' is no field of a recipe"),
        ({"search": {}}, "at least 1 item"),
        ({"search": {"rank": []}}, "rank: needs values that differ"),
        ({"search": {"rank": [4, 4]}}, "rank: needs values that differ"),
        ({"search": {"rank": {"low": 2, "high": 8}}}, "a grid needs a list"),
        ({"method": "optuna"}, "trials belongs to method: optuna"),
        ({"trials": 3}, "trials belongs to method: optuna"),
        ({"method": "optuna", "trials": 3, "search": {"rank": {"low": 8, "high": 2}}}, r"low \(8\) must be below"),
        ({"method": "optuna", "trials": 3, "search": {"dropout": {"low": 0, "high": 1, "log": True}}}, "log needs low"),
        ({"direction": "maximize"}, "the wrong way for validation_loss"),
        ({"search": {"seed": [1, 2]}, "repeats": 2}, "seed cannot be searched"),
    ],
)
def test_a_mistake_is_named(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        config(**fields)


def test_a_trial_is_the_recipe_with_other_values() -> None:
    trial = config().recipe_with(RECIPE, {"rank": 8}, repeat=2)
    assert trial == RECIPE.model_copy(update={"rank": 8, "seed": RECIPE.seed + 2})


def test_values_that_the_recipe_cannot_take_are_refused_before_the_first_trial() -> None:
    with pytest.raises(RecipeInvalid, match="the recipe 'r' with rank 0 is not valid"):
        config(search={"rank": [0, 4]}).require(RECIPE)
    with pytest.raises(RecipeInvalid, match="max_steps"):
        config(search={"epochs": [1, 2]}).require(RECIPE)
    with pytest.raises(RecipeInvalid, match="validate_at_end: false"):
        config().require(RECIPE.model_copy(update={"validate_at_end": False}))
    config(pruning=False).require(RECIPE.model_copy(update={"validate_every": None}))


def test_a_sweep_over_a_recipe_that_is_not_there_is_told_where_it_stands() -> None:
    with pytest.raises(ProjectInvalid, match=r"'sweeps.a.recipe' names 'short', which is not there; did you mean"):
        parse_project("project: p\nrecipes: {shorts: {base: b}}\nsweeps: {a: {recipe: short, search: {rank: [4]}}}\n")


@pytest.mark.parametrize(
    ("compute", "says"),
    [
        ("{train_on: ray}", "train_on: ray needs a cluster"),
        ("{sharding: fsdp}", "set devices to 2 or more"),
        ("{devices: 0}", "greater than or equal to 1"),
        ("{kubernetes: {image: i, memory: lots}}", "should match pattern"),
    ],
)
def test_compute_that_contradicts_itself_is_refused(compute: str, says: str) -> None:
    with pytest.raises(ProjectInvalid, match=says):
        parse_project(f"project: p\ncompute: {compute}\n")
