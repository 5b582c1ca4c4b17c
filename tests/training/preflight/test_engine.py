"""What an engine cannot load, and layers that are not there."""

import pytest

from modelyard.training.recipe import Recipe
from modelyard.training.sizes import read_sizes
from tests.training.conftest import make_examples
from tests.training.preflight.planted import failing


@pytest.mark.parametrize("fields", [{"rank": 8, "dora": True}, {"method": "prefix"}, {"method": "full"}])
def test_what_no_engine_loads(chat, fields):
    rows = chat.encode(make_examples(3))
    recipe = Recipe(base="tiny", sequence_length=64, **fields)
    assert failing(rows, chat, recipe) == ["the engine can serve it"]
    assert failing(rows, chat, recipe.model_copy(update={"serve": False})) == []


def test_layers_that_are_not_there(base, chat):
    rows, sizes = chat.encode(make_examples(3)), read_sizes(base)
    sound = Recipe(base="tiny", rank=8, sequence_length=64, target_modules=["q_proj"])
    assert failing(rows, chat, sound, sizes=sizes) == []
    wrong = sound.model_copy(update={"target_modules": ("q_proj", "proj")})
    assert failing(rows, chat, wrong, sizes=sizes) == ["target modules are in the base"]
