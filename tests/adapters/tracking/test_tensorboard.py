"""TensorBoard's event files, read back with its own reader."""

import pytest

from modelyard.core.errors import Unavailable

pytest.importorskip("tensorboard")

from modelyard.adapters.tracking.tensorboard import TensorBoardTracker


def events_of(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def text_of(events, tag):
    (event,) = events.Tensors(tag)
    return event.tensor_proto.string_val[0].decode()


def test_a_run_is_told_whole(tmp_path):
    tracker = TensorBoardTracker(tmp_path / "boards")
    tracking_id = tracker.start("run-1", "first", {"rank": 16}, {"owner": "kim"})
    for step in (1, 2):
        tracker.log_metrics(tracking_id, {"loss": 3.0 - step, "system/cpu_utilization_percentage": 50.0}, step)
    tracker.log_dataset(tracking_id, "support", "sha256:abc", "raw.jsonl")
    card = tmp_path / "card"
    card.mkdir()
    (card / "README.md").write_text("# first")
    tracker.log_folder(tracking_id, card, "model_card")
    tracker.finish(tracking_id)

    events = events_of(tmp_path / "boards" / "run-1")
    assert [(one.step, one.value) for one in events.Scalars("loss")] == [(1, 2.0), (2, 1.0)]
    assert [one.value for one in events.Scalars("system/cpu_utilization_percentage")] == [50.0, 50.0]
    assert "| rank | 16 |" in text_of(events, "recipe")
    assert "sha256:abc" in text_of(events, "dataset")
    assert text_of(events, "model_card") == "# first"
    assert text_of(events, "state") == "finished"


def test_another_process_writes_on(tmp_path):
    for step in (1, 2):
        tracker = TensorBoardTracker(tmp_path)
        tracking_id = tracker.start("run-1", "first", {}, {})
        tracker.log_metrics(tracking_id, {"loss": float(step)}, step)
        tracker.finish(tracking_id, failed=step == 1)
    assert [one.value for one in events_of(tmp_path / "run-1").Scalars("loss")] == [1.0, 2.0]


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "boards").write_text("a file")
    with pytest.raises(Unavailable, match="cannot be written"):
        TensorBoardTracker(tmp_path / "boards").start("run-1", "first", {}, {})
