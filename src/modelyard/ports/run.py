"""Run: one execution of a recipe, with everything needed to do it again."""

from typing import Any, Literal

import msgspec

RunState = Literal["running", "finished", "failed", "interrupted"]


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run came from. Digests are `sha256:<hex>`; an empty text means that there was none."""

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


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a run. `artifacts` maps a name (`adapter`) to the digest of a blob folder."""

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
    cost_nanousd: int = 0
    tracking_id: str = ""
    error: str = ""
