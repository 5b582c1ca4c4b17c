"""Joules and shares: the kernel's files and NVIDIA's library at their boundary, this process for real."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from modelyard.training.energy import Energy, cpu_counters, gpu_counters
from modelyard.training.usage import Usage


def zone(folder: Path, name: str, joules: float, *, most: float = 1000.0) -> Path:
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "energy_uj").write_text(f"{round(joules * 1e6)}\n")
    (folder / name / "max_energy_range_uj").write_text(f"{round(most * 1e6) - 1}\n")
    return folder / name


def test_packages_are_counted_once_and_beyond_their_range(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", 990)
    zone(tmp_path, "intel-rapl:1", 5)
    zone(tmp_path, "intel-rapl:0:0", 7)
    energy = Energy(cpu_counters(tmp_path))
    assert energy.joules() == 0
    zone(tmp_path, "intel-rapl:0", 20)
    zone(tmp_path, "intel-rapl:1", 6)
    zone(tmp_path, "intel-rapl:0:0", 99)
    assert energy.joules() == pytest.approx(31)


def test_where_nothing_is_counted_there_is_no_energy(tmp_path: Path) -> None:
    (zone(tmp_path, "intel-rapl:0", 1) / "energy_uj").unlink()
    assert cpu_counters(tmp_path) == []
    assert cpu_counters(tmp_path / "nowhere") == []
    assert Energy([]).joules() is None


def test_gpus_that_count_are_summed_and_others_left_out() -> None:
    class NVMLError(Exception):
        pass

    millijoules = {"first": 5_000, "second": 70_000}

    def counted(handle: str) -> int:
        if handle == "old":
            raise NVMLError("Not Supported")
        return millijoules[handle]

    nvml = SimpleNamespace(NVMLError=NVMLError, nvmlDeviceGetTotalEnergyConsumption=counted)
    energy = Energy(gpu_counters(nvml, ["first", "old", "second"]))
    millijoules.update(first=6_500, second=70_500)
    assert energy.joules() == pytest.approx(2.0)


def test_a_busy_process_is_seen_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelyard.training.usage._EVERY_S", 0.05)
    usage = Usage()
    assert usage.sample() == {}
    begun = time.monotonic()
    while time.monotonic() - begun < 0.1:
        sum(range(1000))
    seen = usage.sample()
    assert 0 < seen["cpu_share"] <= 1
    assert seen["utilisation"] == seen.get("gpu_share", seen["cpu_share"])
    assert seen["memory_bytes"] > 1e7
