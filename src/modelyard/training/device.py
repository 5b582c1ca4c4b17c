"""Which device trains, in which number format, on how many threads."""

import torch

from modelyard.training.hardware import available_cores
from modelyard.training.recipe import Recipe


def is_cuda() -> bool:
    """Whether a CUDA device trains; otherwise the CPU does."""
    return torch.cuda.is_available()


def precision(recipe: Recipe) -> torch.dtype:
    """The number format of the frozen base: as the recipe says, or what the device multiplies natively."""
    if recipe.precision != "auto":
        return torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32
    native = torch.cuda.is_bf16_supported() if is_cuda() else _cpu_multiplies_bfloat16()
    return torch.bfloat16 if native else torch.float32


def set_threads(recipe: Recipe) -> None:
    """Let torch use as many threads as the recipe says, or as there are cores."""
    torch.set_num_threads(recipe.threads or available_cores())


def _cpu_multiplies_bfloat16() -> bool:
    # Without these instructions bfloat16 products are emulated, several times slower than float32.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
