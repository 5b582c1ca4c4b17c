"""The watch over a training process: what it writes down, tells the tracker and shows."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import pytest

from modelyard.adapters.tracking.none import NoTracker
from modelyard.core.errors import Unavailable
from modelyard.core.money import nanousd, seconds_cost
from modelyard.workflows import watching
from modelyard.workflows.tools import Tools
from modelyard.workflows.watching import TrainingTerms, Watch
from tests.adapters.records.values import a_run
from tests.workflows.stand_ins import CAPABILITIES

TERMS = TrainingTerms(engine=CAPABILITIES, nanousd_per_hour=nanousd("3600"), pricing="spot")


def step(number: int, **fields: Any) -> dict[str, Any]:
    return {"event": "progress", "step": number, "steps": 10, "loss": 2.0, "seconds": 1.5, **fields}


class Kept(NoTracker):
    def __init__(self) -> None:
        self.told: list[tuple[dict[str, float], int]] = []

    def log_metrics(self, tracking_id: str, metrics: Mapping[str, float], step: int) -> None:
        self.told.append((dict(metrics), step))


class Away(NoTracker):
    def log_metrics(self, tracking_id: str, metrics: Mapping[str, float], step: int) -> None:
        raise Unavailable("the tracker is away")


def test_the_device_costs_while_it_is_held_and_attempts_add_up(tools: Tools) -> None:
    before = a_run(device_seconds=100.0, cost_nanousd=5, metrics={"energy_joules": 7.0})
    watch = Watch(tools, before, TERMS, lambda *_: None)
    with watch.metering():
        time.sleep(0.02)
    used = watch.run.device_seconds - 100
    assert used >= 0.02
    assert watch.run.cost_nanousd == 5 + seconds_cost(watch._used, TERMS.nanousd_per_hour)
    time.sleep(0.02)
    assert watch.run.device_seconds - 100 == used
    assert watch.run.metrics == {"energy_joules": 7.0}


def test_energy_adds_up_also_where_memory_ran_out_and_counting_began_anew(tools: Tools) -> None:
    watch = Watch(tools, a_run(metrics={"energy_joules": 7.0}), TERMS, lambda *_: None)
    for number, joules in enumerate((10.0, 20.0, 5.0), 1):
        watch.hear(step(number, energy_joules=joules))
    assert watch.run.metrics == {"energy_joules": 32.0}
    assert watch.run.train_seconds == 1.5


def test_what_was_used_is_in_the_records_before_the_end(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_WRITTEN_EVERY_S", 0.0)
    run = a_run()
    tools.records.runs.put(run)
    watch = Watch(tools, run, TERMS, lambda *_: None)
    with watch.metering():
        watch.hear(step(1))
        seen = tools.records.runs.get(run.id)
    assert seen.state == "running"
    assert 0 < seen.cost_nanousd <= watch.run.cost_nanousd
    assert seen.train_seconds == 1.5


def test_curves_and_the_system_go_to_the_tracker_under_its_names(tools: Tools) -> None:
    tracker = Kept()
    watch = Watch(dataclasses.replace(tools, tracker=tracker), a_run(), TERMS, lambda *_: None)
    watch.hear(step(3, tokens_per_second=50.0, cpu_share=0.25, memory_bytes=2e6))
    watch.hear({"event": "validated", "step": 3, "validation_loss": 1.0})
    assert tracker.told == [
        (
            {
                "loss": 2.0,
                "tokens_per_second": 50.0,
                "system/cpu_utilization_percentage": 25.0,
                "system/system_memory_usage_megabytes": 2.0,
            },
            3,
        ),
        ({"validation_loss": 1.0}, 3),
    ]


def test_a_tracker_that_is_away_holds_nothing_up(tools: Tools, caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch(dataclasses.replace(tools, tracker=Away()), a_run(), TERMS, lambda *_: None)
    for number in (1, 2, 3):
        watch.hear(step(number))
    assert ["the tracker is away" in record.message for record in caplog.records] == [True]


def test_a_person_sees_loss_pace_share_money_and_the_time_left(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    watch = Watch(tools, a_run(), TERMS, lambda _done, _total, note="": notes.append(note))
    now = [1000.0]
    monkeypatch.setattr(watching.time, "monotonic", lambda: now[0])
    with watch.metering():
        watch.hear(step(4, tokens_per_second=5321.4, utilisation=0.93))
        now[0] += 60
        watch.hear(step(5, tokens_per_second=5321.4))
    assert notes == [
        "loss 2.000, 5,321 tokens/s, 93% busy, $0.00",
        "loss 2.000, 5,321 tokens/s, 93% busy, $60.00, 5:00 left",
    ]
    terms = TrainingTerms(engine=CAPABILITIES, nanousd_per_hour=0)
    Watch(tools, a_run(), terms, lambda _done, _total, note="": notes.append(note)).hear(step(1))
    assert notes[-1] == "loss 2.000"
