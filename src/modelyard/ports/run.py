"""Run: one execution of a recipe, with everything needed to do it again."""

from typing import Any, Literal

import msgspec

RunState = Literal["running", "finished", "failed", "interrupted", "pruned"]
Pricing = Literal["on_demand", "spot", "reserved"]


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run came from. Digests are `sha256:<hex>`; an empty text means that there was none.

    `threads` are those of the CPU that the recipe asked for or the machine had; 0 where that was not written down.
    """

    commit: str
    dirty_digest: str
    dataset_digest: str
    base_name: str
    base_digest: str
    template_digest: str
    tokenizer_digest: str
    environment_digest: str
    environment: dict[str, str]
    hardware: dict[str, Any]
    seed: int
    python: str = ""
    threads: int = 0


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a run. `artifacts` maps a name (`adapter`, `model`) to the digest of a blob folder.

    The artifact `curve` is the bytes of a Curve (training/spec.py). `device_seconds` are those that all attempts held
    the device, loading included; they are what costs, times the number of devices. The price is that of the last
    attempt. `reproduces` is the id of the run that this one repeats. A run of a sweep names in `parent` the run that
    stands for the sweep, whose own configuration is in `sweep`. Such a run is `pruned` where it was ended early because
    others were better.
    """

    id: str
    name: str
    state: RunState
    owner: str
    recipe: dict[str, Any]
    recipe_digest: str
    lineage: Lineage
    started_ms: int
    finished_ms: int = 0
    train_seconds: float = 0.0
    metrics: dict[str, float] = {}
    artifacts: dict[str, str] = {}
    device_seconds: float = 0.0
    cost_nanousd: int = 0
    nanousd_per_hour: int = 0
    pricing: Pricing = "on_demand"
    project: str = ""
    reproduces: str = ""
    tracking_id: str = ""
    error: str = ""
    parent: str = ""
    sweep: dict[str, Any] = {}
