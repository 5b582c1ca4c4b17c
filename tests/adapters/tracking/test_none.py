from pathlib import Path

from modelyard.adapters.tracking.none import NoTracker
from modelyard.ports.tracking import Tracker


def test_it_takes_everything_and_makes_nothing(tmp_path: Path) -> None:
    tracker: Tracker = NoTracker()
    tracking_id = tracker.start("run", "name", {"a": 1}, {})
    tracker.log_metrics(tracking_id, {"loss": 1.0}, 1)
    tracker.log_dataset(tracking_id, "d", "sha256:0", "file")
    tracker.log_folder(tracking_id, tmp_path, "adapter")
    tracker.mirror_release("support", tracking_id, tmp_path, "champion")
    tracker.finish(tracking_id)
    assert tracking_id == ""
    assert list(tmp_path.iterdir()) == []
