"""The base model of a run, loaded from its folder."""

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from modelyard.core.errors import RecipeInvalid
from modelyard.training import attention


def load_base(folder: Path, dtype: torch.dtype, *, packed: bool, **settings: Any) -> Any:
    """The base model. `packed` asks for the packed attention where the architecture has it.

    Raises: RecipeInvalid where the folder holds no causal language model.
    """
    try:
        model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=dtype, local_files_only=True, **settings)
    except (OSError, ValueError, KeyError) as error:
        raise RecipeInvalid(
            f"the base in {folder} cannot be loaded: {error}",
            expected="config.json and model.safetensors of a causal language model",
            fix="point the recipe's base at a complete model folder",
        ) from error
    if packed and attention.supports(model.config):
        attention.register()
        model.set_attn_implementation(attention.NAME)
    return model


def copy_readers(base: Path, folder: Path) -> None:
    """Copy what goes with a base's weights into the folder of a model made of it: tokenizer, template, configurations.

    What is there already stays; weights, their index and the base's card are left behind.
    """
    for path in sorted(base.iterdir()):
        is_reader = path.suffix in (".json", ".jinja", ".txt", ".model") and not path.name.endswith(".index.json")
        if path.is_file() and is_reader and not (folder / path.name).exists():
            shutil.copyfile(path, folder / path.name)
