"""Several trackers at once: each is told everything, and one that is away keeps nothing from the others."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.errors import Unavailable
from modelyard.ports.tracking import Tracker


class SeveralTrackers:
    """Trackers by name. A run's id here is a JSON object of the ids that they gave it."""

    def __init__(self, trackers: Mapping[str, Tracker]) -> None:
        self._trackers = dict(trackers)

    def start(self, run_id: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Begin the run everywhere. Raises: Unavailable where one tracker is."""
        ids = {key: tracker.start(run_id, name, params, tags) for key, tracker in self._trackers.items()}
        return msgspec.json.encode(ids).decode()

    def log_metrics(self, tracking_id: str, metrics: Mapping[str, float], step: int) -> None:
        """Add a point to each curve everywhere. Raises: Unavailable, after all were told."""
        self._tell(tracking_id, lambda tracker, id: tracker.log_metrics(id, metrics, step))

    def log_dataset(self, tracking_id: str, name: str, digest: str, source: str) -> None:
        """Name the dataset everywhere. Raises: Unavailable, after all were told."""
        self._tell(tracking_id, lambda tracker, id: tracker.log_dataset(id, name, digest, source))

    def log_folder(self, tracking_id: str, folder: Path, name: str) -> None:
        """Keep a folder everywhere. Raises: Unavailable, after all were told."""
        self._tell(tracking_id, lambda tracker, id: tracker.log_folder(id, folder, name))

    def finish(self, tracking_id: str, *, failed: bool = False) -> None:
        """End the run everywhere. Raises: Unavailable, after all were told."""
        self._tell(tracking_id, lambda tracker, id: tracker.finish(id, failed=failed))

    def mirror_release(self, name: str, tracking_id: str, folder: Path, alias: str) -> None:
        """Mirror a release everywhere. Raises: Unavailable, after all were told."""
        self._tell(tracking_id, lambda tracker, id: tracker.mirror_release(name, id, folder, alias))

    def _tell(self, tracking_id: str, tell: Callable[[Tracker, str], None]) -> None:
        """Tell those that know the run; a run from before a tracker was added is not in it."""
        ids: dict[str, str] = {}
        with suppress(msgspec.MsgspecError):
            ids = msgspec.json.decode(tracking_id, type=dict[str, str])
        away: list[Unavailable] = []
        for key, tracker in self._trackers.items():
            if key in ids:
                try:
                    tell(tracker, ids[key])
                except Unavailable as error:
                    away.append(error)
        if away:
            raise away[0]
