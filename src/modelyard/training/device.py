"""Which device trains, in which number format, on how many threads."""

import msgspec
import torch

from modelyard.training import ranks
from modelyard.training.hardware import available_cores, describe_hardware
from modelyard.training.recipe import Recipe

# What a device reaches while it trains, in floating-point operations a second: a third of a GPU's dense bfloat16 peak
# as its vendor states it, and of a CPU core what was measured on the shipped base.
_GPU_PEAKS = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40": 181e12,
    "4090": 165e12,
    "A10": 125e12,
    "L4": 121e12,
}
_GPU_SHARE, _OTHER_GPU_PEAK = 1 / 3, 60e12
_CORE_BFLOAT16, _CORE_FLOAT32 = 1.5e11, 4e10


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """What trains here. `flops` is a rough guess of what it reaches, in floating-point operations a second."""

    name: str
    is_cuda: bool
    memory_bytes: int
    flops: float


def here(recipe: Recipe) -> Device:
    """The device that would train a recipe on this machine."""
    if is_cuda():
        properties = torch.cuda.get_device_properties(0)
        peak = next((peak for name, peak in _GPU_PEAKS.items() if name in properties.name), _OTHER_GPU_PEAK)
        return Device(name=properties.name, is_cuda=True, memory_bytes=properties.total_memory, flops=peak * _GPU_SHARE)
    hardware = describe_hardware()
    cores = recipe.threads or available_cores()
    rate = _CORE_BFLOAT16 if precision(recipe) is torch.bfloat16 else _CORE_FLOAT32
    name = f"{hardware['cpu'] or 'CPU'}, {cores} threads"
    return Device(name=name, is_cuda=False, memory_bytes=hardware["memory_bytes"], flops=cores * rate)


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
    """Let torch use as many threads as the recipe says, or as this process's share of the cores."""
    torch.set_num_threads(recipe.threads or max(1, available_cores() // ranks.count_here()))


def _cpu_multiplies_bfloat16() -> bool:
    # Without these instructions bfloat16 products are emulated, several times slower than float32.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
