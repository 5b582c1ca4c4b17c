"""How busy the devices are while a run trains: shares in use, memory in bytes, energy in joules."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from modelyard.training.energy import Energy, cpu_counters, gpu_counters
from modelyard.training.hardware import available_cores

_EVERY_S = 1.0


class Usage:
    """Samples at most once a second. `utilisation` is the share of the device that trains: the GPUs', or the CPU's."""

    def __init__(self) -> None:
        self._nvml, self._gpus = _open_gpus()
        self._energy = Energy([*cpu_counters(), *gpu_counters(self._nvml, self._gpus)])
        self._cores = available_cores()
        self._at, self._cpu_seconds = time.monotonic(), _cpu_seconds()

    def sample(self) -> dict[str, float]:
        """`utilisation`, `cpu_share`, `memory_bytes`; with NVML `gpu_share`, `gpu_memory_bytes`; perhaps
        `energy_joules`, since training began. Empty where the last sample is less than a second old.
        """
        now, cpu_seconds = time.monotonic(), _cpu_seconds()
        if now - self._at < _EVERY_S:
            return {}
        share = (cpu_seconds - self._cpu_seconds) / (now - self._at) / self._cores
        self._at, self._cpu_seconds = now, cpu_seconds
        seen = {"cpu_share": min(1.0, share), "memory_bytes": _memory_bytes(), **self._of_gpus()}
        joules = self._energy.joules()
        if joules is not None:
            seen["energy_joules"] = joules
        return {"utilisation": seen.get("gpu_share", seen["cpu_share"]), **seen}

    def _of_gpus(self) -> dict[str, float]:
        if not self._gpus:
            return {}
        with suppress(self._nvml.NVMLError):
            busy = [self._nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100 for gpu in self._gpus]
            used = [self._nvml.nvmlDeviceGetMemoryInfo(gpu).used for gpu in self._gpus]
            return {"gpu_share": sum(busy) / len(busy), "gpu_memory_bytes": float(sum(used))}
        return {}


def _open_gpus() -> tuple[Any, list[Any]]:
    """NVML and the handles of the GPUs that torch sees; nothing without GPUs, or without the package."""
    if not torch.cuda.is_available():
        return None, []
    try:
        import pynvml
    except ModuleNotFoundError:
        return None, []
    try:
        pynvml.nvmlInit()
        ids = [torch.cuda.get_device_properties(i).uuid for i in range(torch.cuda.device_count())]
        return pynvml, [pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{id}") for id in ids]
    except pynvml.NVMLError:
        return None, []


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system


def _memory_bytes() -> float:
    """What this process holds in memory, 0 where the system does not tell."""
    try:
        return float(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError):
        return 0.0
