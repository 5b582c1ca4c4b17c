"""A watch over a training process: its use goes to the records, its curves to the tracker, its pace to a person."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from modelyard.core.errors import ModelyardError, error_from_dict
from modelyard.core.money import format_usd, seconds_cost
from modelyard.ports.engine import Capabilities
from modelyard.ports.run import Pricing, Run
from modelyard.training.scale import Sharding
from modelyard.workflows.tools import Progress, Tools
from modelyard.workflows.troubles import Troubles

log = logging.getLogger(__name__)

ENERGY = "energy_joules"
# At most so many seconds of a run that is killed with us are not in its cost.
_WRITTEN_EVERY_S = 10.0
_CURVES = ("loss", "tokens_per_second", "learning_rate", "gradient_norm", "validation_loss", "validation_accuracy")
# The names under which MLflow shows what a machine does: share in percent, memory in megabytes.
_SYSTEM = {
    "cpu_share": ("system/cpu_utilization_percentage", 100.0),
    "memory_bytes": ("system/system_memory_usage_megabytes", 1e-6),
    "gpu_share": ("system/gpu_0_utilization_percentage", 100.0),
    "gpu_memory_bytes": ("system/gpu_0_memory_usage_megabytes", 1e-6),
    ENERGY: ("system/energy_joules", 1.0),
}


@dataclass(frozen=True, kw_only=True)
class TrainingTerms:
    """What training must heed: the engine that will serve what it makes, what an hour of a device costs, and how many
    devices there are."""

    engine: Capabilities
    nanousd_per_hour: int
    pricing: Pricing = "on_demand"
    devices: int = 1
    sharding: Sharding = "ddp"


class Watch:
    """Hears the events of one attempt at a run. `run` is the run with what it has used by now."""

    def __init__(self, tools: Tools, run: Run, terms: TrainingTerms, progress: Progress) -> None:
        self._tools, self._begun, self._terms, self._progress = tools, run, terms, progress
        self._troubles = Troubles()
        self._began: float | None = None
        self._used = 0.0
        self._train_seconds = run.train_seconds
        self._joules_before, self._joules = run.metrics.get(ENERGY, 0.0), 0.0
        self._written = time.monotonic()
        self._first: tuple[int, float] | None = None
        self._utilisation: float | None = None
        self.failure: ModelyardError | None = None

    @property
    def run(self) -> Run:
        """The run, charged for what this attempt has used so far on top of those before."""
        used = self._used + (time.monotonic() - self._began if self._began is not None else 0.0)
        joules = self._joules_before + self._joules
        cost = seconds_cost(used * self._terms.devices, self._terms.nanousd_per_hour)
        return msgspec.structs.replace(
            self._begun,
            device_seconds=self._begun.device_seconds + used,
            cost_nanousd=self._begun.cost_nanousd + cost,
            train_seconds=self._train_seconds,
            metrics=self._begun.metrics | ({ENERGY: joules} if joules else {}),
        )

    @contextmanager
    def metering(self) -> Iterator[None]:
        """Within the block, the device is held."""
        self._began = time.monotonic()
        try:
            yield
        finally:
            self._used += time.monotonic() - self._began
            self._began = None

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take an event of the training process in. A tracker or a store that is away holds nothing up."""
        kind = event["event"]
        if kind == "failed":
            self.failure = error_from_dict(event["error"])
        elif kind == "out_of_memory":
            log.warning("memory ran out: %d sequences at a time from here on", event["micro_batch"])
        elif kind == "warned":
            log.warning("%s: %s; %s", event["name"], event["seen"], event["fix"])
        elif kind == "no_room":
            log.warning("no room on the disk for a checkpoint after step %d: make some", event["step"])
        elif kind == "validated":
            self._track(_curves(event), event["step"])
        elif kind == "progress":
            self._count(event)
            self._track(_curves(event), event["step"])
            self._write()
            self._progress(event["step"], event["steps"], self._note(event))

    def _count(self, event: Mapping[str, Any]) -> None:
        self._train_seconds = float(event.get("seconds", self._train_seconds))
        self._utilisation = event.get("utilisation", self._utilisation)
        joules = float(event.get(ENERGY, self._joules))
        if joules < self._joules:  # memory ran out, and counting began anew
            self._joules_before += self._joules
        self._joules = joules
        self._first = self._first or (event["step"], time.monotonic())

    def _track(self, metrics: Mapping[str, float], step: int) -> None:
        with self._troubles.around("the tracker"):
            self._tools.tracker.log_metrics(self._begun.tracking_id, metrics, step)

    def _write(self) -> None:
        """Write down what was used, now and then: it is not lost where we are killed."""
        if time.monotonic() - self._written < _WRITTEN_EVERY_S:
            return
        self._written = time.monotonic()
        with self._troubles.around(f"the record of the run {self._begun.id}"):
            self._tools.records.runs.put(self.run)

    def _note(self, event: Mapping[str, Any]) -> str:
        parts = [f"loss {event['loss']:.3f}"]
        if "tokens_per_second" in event:
            parts.append(f"{event['tokens_per_second']:,.0f} tokens/s")
        if self._utilisation is not None:
            parts.append(f"{self._utilisation:.0%} busy")
        if self._terms.nanousd_per_hour:
            parts.append(format_usd(round(self.run.cost_nanousd, -5)))
        left = self._seconds_left(event["step"], event["steps"])
        return ", ".join([*parts, *([f"{_clock(left)} left"] if left is not None else [])])

    def _seconds_left(self, step: int, steps: int) -> float | None:
        """By the pace of this attempt; None before its second step."""
        if self._first is None or step <= self._first[0]:
            return None
        begun, at = self._first
        return (time.monotonic() - at) / (step - begun) * (steps - step)


def _curves(event: Mapping[str, Any]) -> dict[str, float]:
    found = {name: float(event[name]) for name in _CURVES if name in event}
    return found | {name: event[key] * scale for key, (name, scale) in _SYSTEM.items() if key in event}


def _clock(seconds: float) -> str:
    """`0:42`, `2:05:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
