"""An adapter: put on a base, saved in the form engines load, and loaded again to see that nothing was lost."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from modelyard.core.errors import JobFailed, RecipeInvalid
from modelyard.core.files import write_json_atomically
from modelyard.training import attention
from modelyard.training.recipe import Recipe

NUM_PROBES = 4
_KEPT_FILES = ("adapter_config.json", "adapter_model.safetensors")


def load_base(folder: Path, dtype: torch.dtype, *, packed: bool) -> Any:
    """The base model. `packed` asks for the packed attention where the architecture has it.

    Raises: RecipeInvalid where the folder holds no causal language model.
    """
    try:
        model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=dtype, local_files_only=True)
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


def put_on(model: Any, recipe: Recipe) -> PeftModel:
    """The base with a fresh adapter, seeded by the recipe. Its weights are float32; the base is frozen."""
    torch.manual_seed(recipe.seed)
    targets = recipe.target_modules
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        bias="none",
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise RecipeInvalid(
            f"target_modules {targets!r} does not fit the base: {error}", fix="use 'all-linear'"
        ) from error


def save(model: PeftModel, folder: Path, base_name: str) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors`: the same bytes for the same weights."""
    model.save_pretrained(str(folder), save_embedding_layers=False)
    for path in folder.iterdir():
        if path.name not in _KEPT_FILES:
            path.unlink()
    config = json.loads((folder / "adapter_config.json").read_bytes())
    # PEFT writes a set in its hash order, and where the base lay on this machine.
    config["target_modules"] = sorted(config["target_modules"])
    config["base_model_name_or_path"] = base_name
    write_json_atomically(folder / "adapter_config.json", dict(sorted(config.items())))


def verify(model: PeftModel, folder: Path, base_folder: Path, probes: Sequence[list[int]]) -> dict[str, float]:
    """Load a saved adapter onto a fresh base and compare; return what it changes.

    Raises: JobFailed where the adapter does nothing, or answers otherwise after loading.
    """
    largest = max(float(weight.detach().abs().max()) for name, weight in model.named_parameters() if "lora_B" in name)
    if largest == 0.0:
        raise JobFailed(
            "the adapter is inert: every weight of B is zero after training",
            fix="train for more steps, or raise the learning rate",
        )
    base = load_base(base_folder, model.get_base_model().dtype, packed=False)
    plain = [_logits(base, ids) for ids in probes]
    reloaded = PeftModel.from_pretrained(base, str(folder))
    implementation = model.get_base_model().config._attn_implementation
    model.get_base_model().set_attn_implementation(base.config._attn_implementation)
    try:
        before, after = ([_logits(adapted, ids) for ids in probes] for adapted in (model, reloaded))
    finally:
        model.get_base_model().set_attn_implementation(implementation)
    if not all(torch.equal(left, right) for left, right in zip(before, after, strict=True)):
        raise JobFailed("the adapter answers otherwise after it was saved and loaded", fix="report this as a bug")
    change = max(float((left - right).abs().max()) for left, right in zip(after, plain, strict=True))
    return {"adapter_largest_b": largest, "adapter_logit_change": change}


@torch.no_grad()
def _logits(model: Any, ids: list[int]) -> torch.Tensor:
    model.eval()
    logits: torch.Tensor = model(input_ids=torch.tensor([ids], device=model.device)).logits
    return logits.float().cpu()
