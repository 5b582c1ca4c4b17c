"""No tracking, for projects that want none."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class NoTracker:
    """Takes everything and keeps nothing; a run goes by an empty tracking id."""

    def start(self, run_id: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        return ""

    def log_metrics(self, tracking_id: str, metrics: Mapping[str, float], step: int) -> None:
        pass

    def log_dataset(self, tracking_id: str, name: str, digest: str, source: str) -> None:
        pass

    def log_folder(self, tracking_id: str, folder: Path, name: str) -> None:
        pass

    def finish(self, tracking_id: str, *, failed: bool = False) -> None:
        pass

    def mirror_release(self, name: str, tracking_id: str, folder: Path, alias: str) -> None:
        pass
