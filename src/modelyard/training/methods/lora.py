"""LoRA (Hu 2021) with its variants rsLoRA and DoRA, and QLoRA (Dettmers 2023): the same on a base of four bits."""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, prepare_model_for_kbit_training

from modelyard.core.errors import MissingExtra, RecipeInvalid
from modelyard.training import device, unsloth
from modelyard.training.bases import load_base
from modelyard.training.methods.adapters import Adapter
from modelyard.training.recipe import Recipe


class Lora(Adapter):
    """A low-rank product beside each chosen layer."""

    def load(self, folder: Path, recipe: Recipe) -> Any:
        """The base as it is, in the number format of the recipe. Raises: RecipeInvalid."""
        if recipe.accelerator == "unsloth":
            return unsloth.load_base(folder, recipe)
        return super().load(folder, recipe)

    def put_on(self, model: Any, recipe: Recipe) -> PeftModel:
        """The base with a fresh adapter, whose product is zero."""
        if recipe.accelerator == "unsloth":
            return unsloth.put_on(model, recipe)
        targets = recipe.target_modules
        config = LoraConfig(
            r=recipe.rank,
            lora_alpha=recipe.alpha,
            lora_dropout=recipe.dropout,
            target_modules=list(targets) if isinstance(targets, tuple) else targets,
            use_rslora=bool(recipe.rslora),
            use_dora=bool(recipe.dora),
            bias="none",
            task_type="CAUSAL_LM",
        )
        try:
            return self.attach(model, config, recipe)
        except ValueError as error:
            raise RecipeInvalid(
                f"target_modules {targets!r} does not fit the base: {error}", fix="use 'all-linear'"
            ) from error


class QuantizedLora(Lora):
    """LoRA over a base of four bits a weight (NF4, its scales quantized too), which computes in bfloat16."""

    def load(self, folder: Path, recipe: Recipe) -> Any:
        """The base, quantized while it is loaded. Raises: RecipeInvalid without CUDA; MissingExtra."""
        if not device.is_cuda():
            raise RecipeInvalid(
                "method 'qlora' was asked for, and this machine has no CUDA device",
                expected="a CUDA device, whose kernels multiply four-bit weights",
                fix="set method: lora with precision: bfloat16, which needs four times the memory for the base; or "
                "train where a GPU is",
            )
        if importlib.util.find_spec("bitsandbytes") is None:
            raise MissingExtra("bitsandbytes", "qlora")
        from transformers import BitsAndBytesConfig

        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        model = load_base(folder, torch.bfloat16, packed=False, quantization_config=quantization, device_map={"": 0})
        return prepare_model_for_kbit_training(model, use_gradient_checkpointing=bool(recipe.gradient_checkpointing))
