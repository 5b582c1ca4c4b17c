"""The best weights that a run had, by its validation loss, kept in a file beside it."""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from modelyard.training import ranks

_FILE = "best.safetensors"


class BestWeights:
    """What is learnt of a model, as it was when it was best. `before` is a checkpoint's folder to take them from."""

    def __init__(self, folder: Path, before: Path | None = None) -> None:
        self._path = folder / _FILE
        if before is not None and (before / _FILE).is_file():
            shutil.copyfile(before / _FILE, self._path)

    def keep(self, model: Any) -> None:
        """Take the weights as they are now."""
        weights = {name: ranks.whole(weight.detach()).contiguous() for name, weight in _learnt(model)}
        if not ranks.is_first():
            return
        # Written beside and renamed: a checkpoint may hold a link to the file there was.
        beside = self._path.with_suffix(".new")
        save_file(weights, beside)
        os.replace(beside, self._path)

    @torch.no_grad()
    def restore(self, model: Any) -> None:
        """Give the model its best weights back, and remove the file."""
        kept = load_file(self._path)
        for name, weight in _learnt(model):
            weight.copy_(kept[name])
        self._path.unlink()

    def copy_to(self, folder: Path) -> None:
        """Leave them in a checkpoint too."""
        if self._path.is_file():
            shutil.copyfile(self._path, folder / _FILE)


def _learnt(model: Any) -> list[tuple[str, torch.nn.Parameter]]:
    return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
