"""Prefix tuning (Li & Liang 2021): learnt keys and values before every text, in every layer."""

from typing import Any

from peft import PeftModel, PrefixTuningConfig

from modelyard.training.methods.adapters import Adapter
from modelyard.training.recipe import Recipe


class Prefix(Adapter):
    """Its documents see the prefix as if it were their beginning, so each needs a row of its own."""

    flattens = False

    def put_on(self, model: Any, recipe: Recipe) -> PeftModel:
        """The base with a prefix, drawn at random."""
        config = PrefixTuningConfig(num_virtual_tokens=recipe.virtual_tokens, task_type="CAUSAL_LM")
        return self.attach(model, config, recipe)
