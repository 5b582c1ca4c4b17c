"""Unsloth as an optional accelerator of LoRA: its loader and its adapters instead of ours, the rest stays the same."""

import importlib.util
from pathlib import Path
from typing import Any

from modelyard.core.errors import RecipeInvalid
from modelyard.training import device
from modelyard.training.recipe import Recipe


def load_base(folder: Path, recipe: Recipe) -> Any:
    """The base with its kernels. Raises: RecipeInvalid where the package or a CUDA device is missing."""
    found = importlib.util.find_spec("unsloth") is not None
    if not found or not device.is_cuda():
        raise RecipeInvalid(
            f"accelerator 'unsloth' was asked for, and {'there is no CUDA device' if found else 'it is not installed'}",
            expected="the package unsloth on a machine with a CUDA device",
            fix="pip install unsloth there, or set accelerator: none",
        )
    from unsloth import FastLanguageModel

    model, _ = FastLanguageModel.from_pretrained(
        str(folder), max_seq_length=recipe.sequence_length, dtype=device.precision(recipe), load_in_4bit=False
    )
    return model


def put_on(model: Any, recipe: Recipe) -> Any:
    """The base with a fresh adapter."""
    from unsloth import FastLanguageModel

    targets = recipe.target_modules
    return FastLanguageModel.get_peft_model(
        model,
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=list(targets) if isinstance(targets, tuple) else targets,
        use_rslora=bool(recipe.rslora),
        use_gradient_checkpointing="unsloth" if recipe.gradient_checkpointing else False,
        random_state=recipe.seed,
        bias="none",
    )
