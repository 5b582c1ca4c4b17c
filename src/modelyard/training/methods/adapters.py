"""What all adapters of PEFT have in common: put on a frozen base, saved in the form that engines load."""

import json
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model

from modelyard.core.files import write_json_atomically
from modelyard.training import device
from modelyard.training.bases import load_base
from modelyard.training.recipe import Recipe
from modelyard.training.spec import ADAPTER

_KEPT_FILES = ("adapter_config.json", "adapter_model.safetensors")


class Adapter:
    """An adapter's way in and out. The base is frozen; the adapter's weights are float32."""

    artifact = ADAPTER
    flattens = True

    def load(self, folder: Path, recipe: Recipe) -> Any:
        """The base as it is, in the number format of the recipe."""
        return load_base(folder, device.precision(recipe), packed=self.flattens and not device.is_cuda())

    def settle(self, model: PeftModel, recipe: Recipe) -> PeftModel:
        """The model itself: the base was never touched."""
        return model

    def attach(self, model: Any, config: PeftConfig, recipe: Recipe) -> PeftModel:
        """The base with a fresh adapter, seeded by the recipe."""
        torch.manual_seed(recipe.seed)
        return get_peft_model(model, config)

    def save(self, model: PeftModel, folder: Path, base_folder: Path) -> None:
        """Write `adapter_config.json` and `adapter_model.safetensors`: the same bytes for the same weights."""
        model.save_pretrained(str(folder), save_embedding_layers=False)
        for path in folder.iterdir():
            if path.name not in _KEPT_FILES:
                path.unlink()
        config = json.loads((folder / "adapter_config.json").read_bytes())
        # PEFT writes a set in its hash order, and where the base lay on this machine.
        if config.get("target_modules"):
            config["target_modules"] = sorted(config["target_modules"])
        config["base_model_name_or_path"] = base_folder.resolve().name
        write_json_atomically(folder / "adapter_config.json", dict(sorted(config.items())))

    def reload(self, folder: Path, base_folder: Path, recipe: Recipe) -> PeftModel:
        """The saved adapter on a fresh base."""
        return PeftModel.from_pretrained(self.load(base_folder, recipe), str(folder))
