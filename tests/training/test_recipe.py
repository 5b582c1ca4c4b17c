import pytest
from pydantic import ValidationError

from modelyard.training.recipe import Recipe


def test_unknown_method_names_the_known_ones():
    with pytest.raises(ValidationError, match="method 'qlora' is not known; it must be one of: lora"):
        Recipe(base="b", method="qlora")


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
    ],
)
def test_bad_fields_are_refused(fields):
    with pytest.raises(ValidationError):
        Recipe(**fields)


@pytest.mark.parametrize("fields", [{}, {"max_steps": 5}, {"epochs": 0.5}, {"target_modules": ["q_proj", "v_proj"]}])
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
