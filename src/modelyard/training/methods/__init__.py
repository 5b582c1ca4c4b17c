"""How weights are trained: one file a method."""

from modelyard.training.defaults import LORA_METHODS
from modelyard.training.methods.full import Full
from modelyard.training.methods.lora import Lora, QuantizedLora
from modelyard.training.methods.method import Method
from modelyard.training.methods.prefix import Prefix
from modelyard.training.recipe import Recipe

__all__ = ["LORA_METHODS", "Method", "method_of"]

_METHODS: dict[str, Method] = {"lora": Lora(), "qlora": QuantizedLora(), "prefix": Prefix(), "full": Full()}


def method_of(recipe: Recipe) -> Method:
    """The method that a recipe names."""
    return _METHODS[recipe.method]
