"""Tracking: where training curves and artifacts can be looked at."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """An experiment tracker. One tracked run belongs to one Modelyard run and is found again by its id."""

    def start(self, run_id: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Begin (or, after a crash, take up again) the tracked run and return the tracker's own id for it."""
        ...

    def log_metrics(self, tracking_id: str, metrics: Mapping[str, float], step: int) -> None:
        """Add a point to each curve."""
        ...

    def log_dataset(self, tracking_id: str, name: str, digest: str, source: str) -> None:
        """Say which dataset was used, by our digest."""
        ...

    def log_folder(self, tracking_id: str, folder: Path, name: str) -> None:
        """Keep a folder as an artifact."""
        ...

    def finish(self, tracking_id: str, *, failed: bool = False) -> None:
        """End the tracked run."""
        ...

    def mirror_release(self, name: str, tracking_id: str, folder: Path, alias: str) -> None:
        """Mirror a release to the tracker's registry under an alias (`champion`, `challenger`)."""
        ...
