"""Full fine-tuning: every weight of the base is learnt, and a whole model leaves."""

from pathlib import Path
from typing import Any

import torch

from modelyard.training import device
from modelyard.training.bases import copy_readers, load_base
from modelyard.training.recipe import Recipe
from modelyard.training.spec import MODEL


class Full:
    """Weights are float32 while they are trained, as bfloat16 swallows small steps; then as the recipe says."""

    artifact = MODEL
    flattens = True

    def load(self, folder: Path, recipe: Recipe) -> Any:
        """The base in float32."""
        return load_base(folder, torch.float32, packed=not device.is_cuda())

    def put_on(self, model: Any, recipe: Recipe) -> Any:
        """The base itself, every weight free."""
        torch.manual_seed(recipe.seed)
        return model.requires_grad_(True)

    def settle(self, model: Any, recipe: Recipe) -> Any:
        """The model in the precision of the recipe, in which it is checked, saved and served."""
        # Weights alone: the model's tables of angles stay float32, as they are in every loader.
        for weight in model.parameters():
            weight.data = weight.data.to(device.precision(recipe))
        return model

    def save(self, model: Any, folder: Path, base_folder: Path) -> None:
        """Write a whole model folder: weights, configuration, tokenizer and chat template, as the base has them."""
        implementation = model.config._attn_implementation
        model.set_attn_implementation("sdpa")
        try:
            model.save_pretrained(str(folder))
        finally:
            model.set_attn_implementation(implementation)
        copy_readers(base_folder, folder)

    def reload(self, folder: Path, base_folder: Path, recipe: Recipe) -> Any:
        """The saved model."""
        return load_base(folder, device.precision(recipe), packed=False)
