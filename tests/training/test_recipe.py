import re

import pytest
from pydantic import ValidationError

from modelyard.training.defaults import METHODS, OBJECTIVES
from modelyard.training.recipe import Recipe


def test_unknown_method_names_the_known_ones():
    with pytest.raises(ValidationError, match="method 'lota' is not known; it must be one of: lora, qlora, prefix"):
        Recipe(base="b", method="lota")
    with pytest.raises(ValidationError, match="objective 'ppo' is not known; it must be one of: sft, dpo, kto"):
        Recipe(base="b", objective="ppo")


@pytest.mark.parametrize(
    "fields",
    [
        {"bass": "b"},
        {"base": ""},
        {"base": "b", "epochs": 1, "max_steps": 10},
        {"base": "b", "rank": 0},
        {"base": "b", "target_modules": ()},
        {"base": "b", "target_modules": "q_proj"},
        {"base": "b", "warmup_share": 1.5},
        {"base": "b", "patience": 3},
        {"base": "b", "max_steps": 10, "validate_every": 20},
        {"base": "b", "method": "prefix", "packing": True},
        {"base": "b", "method": "prefix", "objective": "dpo"},
        {"base": "b", "method": "prefix", "gradient_checkpointing": True},
    ],
)
def test_bad_fields_are_refused(fields):
    with pytest.raises(ValidationError):
        Recipe(**fields)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"method": "full", "rank": 8}, "rank (8) does nothing with method 'full'; it belongs to lora and qlora"),
        ({"method": "prefix", "dora": False}, "dora (False) does nothing with method 'prefix'"),
        ({"virtual_tokens": 8}, "virtual_tokens (8) does nothing with method 'lora'; it belongs to prefix"),
        ({"beta": 0.1}, "beta (0.1) does nothing with objective 'sft'; it belongs to dpo and kto"),
        ({"objective": "dpo", "packing": True}, "packing (True) does nothing with objective 'dpo'"),
    ],
)
def test_a_field_that_does_nothing_is_refused(fields, named):
    with pytest.raises(ValidationError, match=re.escape(named)):
        Recipe(base="b", **fields)


def test_the_rate_follows_the_size_of_the_base():
    small, middle, large = (Recipe(base="b").for_base(size).learning_rate for size in (6e6, 3e8, 8e9))
    assert small == 2e-3 > middle > large > 1.9e-4
    assert Recipe(base="b", learning_rate=0.5).for_base(8e9).learning_rate == 0.5
    assert Recipe(base="b", method="full").for_base(8e9).learning_rate < 2e-5
    assert Recipe(base="b", objective="dpo").for_base(8e9).learning_rate < large / 10


def test_activations_are_computed_twice_for_a_large_base():
    assert Recipe(base="b").for_base(8e9).gradient_checkpointing
    assert not Recipe(base="b").for_base(6e6).gradient_checkpointing
    assert not Recipe(base="b", gradient_checkpointing=False).for_base(8e9).gradient_checkpointing
    assert not Recipe(base="b", method="prefix").for_base(8e9).gradient_checkpointing


EVERY = [{"method": method} for method in METHODS] + [{"objective": objective} for objective in OBJECTIVES]


@pytest.mark.parametrize(
    "fields", [*EVERY, {"max_steps": 5}, {"epochs": 0.5}, {"target_modules": ["q_proj", "v_proj"]}]
)
def test_saved_recipe_reads_back_as_itself(fields):
    recipe = Recipe(base="b", **fields)
    again = Recipe.model_validate(recipe.model_dump(mode="json"))
    assert again == recipe
    assert again.digest == recipe.digest


def test_digest_tells_recipes_apart():
    assert Recipe(base="b").digest != Recipe(base="b", seed=8).digest
    assert Recipe(base="b").digest == Recipe(base="b", epochs=3).digest


def test_steps_count_partial_batches_and_partial_epochs():
    assert Recipe(base="b", epochs=2, batch_size=4).num_steps(9) == 6
    assert Recipe(base="b", epochs=0.5, batch_size=4).num_steps(9) == 2
    assert Recipe(base="b", max_steps=7).num_steps(1000) == 7


def test_every_field_is_documented():
    assert all(field.description for field in Recipe.model_fields.values())
