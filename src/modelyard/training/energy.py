"""Joules that devices count themselves: NVIDIA's driver for each GPU, the kernel's RAPL files for the CPU's packages.

What it counts is the whole device, whoever uses it. Where nothing is counted, or may be read, there is no energy.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

POWERCAP = Path("/sys/class/powercap")


class Counter(Protocol):
    """A counter of joules that only grows."""

    def joules(self) -> float: ...


class Energy:
    """Joules since it was made, over all counters; None where there are none."""

    def __init__(self, counters: Sequence[Counter]) -> None:
        self._counters = [(counter, counter.joules()) for counter in counters]

    def joules(self) -> float | None:
        """What was used since."""
        if not self._counters:
            return None
        return sum(counter.joules() - begun for counter, begun in self._counters)


class RaplCounter:
    """A package of the CPU. Its file starts at zero again after its range: look more often than once a few minutes."""

    def __init__(self, zone: Path) -> None:
        """Raises: OSError, ValueError where the zone cannot be read."""
        self._file = zone / "energy_uj"
        self._range = int((zone / "max_energy_range_uj").read_text())
        self._last = int(self._file.read_text())
        self._total = 0

    def joules(self) -> float:
        """Joules since it was made."""
        now = int(self._file.read_text())
        self._total += (now - self._last) % (self._range + 1)
        self._last = now
        return self._total / 1e6


class GpuCounter:
    """A GPU, by NVML, which counts millijoules since the driver was loaded."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        """Raises: what NVML raises where the GPU does not count."""
        self._nvml, self._handle = nvml, handle
        self.joules()

    def joules(self) -> float:
        """Joules since the driver was loaded."""
        return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3


def cpu_counters(folder: Path = POWERCAP) -> list[Counter]:
    """Those of the CPU's packages that this process may read. Their parts (`intel-rapl:0:1`) are counted in them."""
    found: list[Counter] = []
    for zone in sorted(folder.glob("intel-rapl:*")):
        if zone.name.count(":") == 1:
            try:
                found.append(RaplCounter(zone))
            except (OSError, ValueError):
                continue
    return found


def gpu_counters(nvml: Any, handles: Iterable[Any]) -> list[Counter]:
    """Those of the GPUs that count."""
    found: list[Counter] = []
    for handle in handles:
        try:
            found.append(GpuCounter(nvml, handle))
        except nvml.NVMLError:
            continue
    return found
