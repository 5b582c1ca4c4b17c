from pathlib import Path

import pytest

from modelyard.adapters.tracking.none import NoTracker
from modelyard.adapters.tracking.several import SeveralTrackers
from modelyard.core.errors import Unavailable


class Kept(NoTracker):
    """Remembers what it was told."""

    def __init__(self, own_id, *, away=False):
        self.own_id, self.away, self.told = own_id, away, []

    def start(self, run_id, name, params, tags):
        return self.own_id

    def log_metrics(self, tracking_id, metrics, step):
        if self.away:
            raise Unavailable(f"{self.own_id} is away")
        self.told.append((tracking_id, dict(metrics), step))

    def mirror_release(self, name, tracking_id, folder, alias):
        self.told.append((tracking_id, name, alias))


def test_each_is_told_under_its_own_id_and_one_that_is_away_keeps_nothing_from_the_others():
    first, second, third = Kept("one"), Kept("two", away=True), Kept("three")
    trackers = SeveralTrackers({"mlflow": first, "wandb": second, "tensorboard": third})
    tracking_id = trackers.start("run-1", "first", {}, {})
    with pytest.raises(Unavailable, match="two is away"):
        trackers.log_metrics(tracking_id, {"loss": 1.0}, 3)
    assert first.told == [("one", {"loss": 1.0}, 3)]
    assert third.told == [("three", {"loss": 1.0}, 3)]


@pytest.mark.parametrize("before", ["", "an-mlflow-id", '{"mlflow": "one"}'])
def test_a_tracker_that_came_later_does_not_know_the_run(before):
    later = Kept("later")
    trackers = SeveralTrackers({"wandb": later})
    trackers.mirror_release("shop-support", before, Path(), "champion")
    assert later.told == []
