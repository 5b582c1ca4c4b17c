"""Several processes train the model that one alone would: the same losses, the same weights, and they go on alike."""

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from modelyard.adapters.compute.local import LocalCompute
from modelyard.core.errors import JobFailed, RecipeInvalid
from modelyard.training.dealing import FILLER, RankBatches, WithFiller
from modelyard.training.job import train
from modelyard.training.recipe import Recipe
from modelyard.training.scale import require_shareable
from modelyard.training.spec import TrainingSpec
from tests.training.conftest import SpecMaker

# 61 rows in batches of four leave one row at the end of an epoch: the second process gets none of it.
FIELDS = {"packing": False, "max_steps": 20, "sequence_length": 64, "precision": "float32", "checkpoint_minutes": 60}
Events = list[Mapping[str, Any]]


@pytest.fixture
def make(make_spec: SpecMaker, tmp_path: Path) -> Callable[..., TrainingSpec]:
    def maker(output: str, *, sharding: str = "ddp", **fields: object) -> TrainingSpec:
        spec = make_spec(61, output=output, **{**FIELDS, **fields})
        checkpoints = str(tmp_path / f"{output}-checkpoints")
        return msgspec.structs.replace(spec, checkpoints=checkpoints, sharding=sharding)  # type: ignore[arg-type]

    return maker


def run(spec: TrainingSpec, processes: int, hear: Callable[[Mapping[str, Any]], None] = lambda event: None) -> Events:
    from tests.training.test_worker import COMMAND

    events: Events = []

    def listen(event: Mapping[str, Any]) -> None:
        events.append(event)
        hear(event)

    path = Path(spec.output).with_suffix(".json")
    path.write_bytes(msgspec.json.encode(spec))
    LocalCompute(grace_s=60, processes=processes).run([*COMMAND, str(path)], env={}, progress=listen)
    return events


def run_alone(spec: TrainingSpec) -> Events:
    """Train in this process: what one alone does is compared with, and not looked at."""
    events: Events = []
    result = train(spec, events.append)
    return [*events, {"event": "finished", "metrics": result.metrics}]


def losses(events: Events, name: str = "progress", key: str = "loss") -> list[float]:
    return [event[key] for event in events if event["event"] == name]


def assert_same_weights(one: TrainingSpec, other: TrainingSpec, file: str) -> None:
    left, right = (load_file(Path(spec.output) / file) for spec in (one, other))
    assert left.keys() == right.keys()
    for name, weight in left.items():
        torch.testing.assert_close(right[name], weight, atol=1e-4, rtol=0)


@pytest.mark.long
def test_two_processes_train_what_one_does(make: Callable[..., TrainingSpec]) -> None:
    alone, shared = (make(name, validate_every=5) for name in ("alone", "shared"))
    first, second = run_alone(alone), run(shared, 2)
    assert losses(second) == pytest.approx(losses(first), abs=1e-4)
    assert losses(second, "validated", "validation_loss") == pytest.approx(
        losses(first, "validated", "validation_loss"), abs=1e-4
    )
    assert [event["event"] for event in second] == [event["event"] for event in first]
    assert second[-1]["metrics"]["train_tokens"] == first[-1]["metrics"]["train_tokens"]
    assert_same_weights(alone, shared, "adapter/adapter_model.safetensors")


@pytest.mark.long
def test_sharded_weights_are_trained_like_whole_ones(make: Callable[..., TrainingSpec]) -> None:
    fields = {"method": "full", "rank": None, "learning_rate": 1e-3, "validate_every": 10}
    alone, shared = make("alone", **fields), make("shared", sharding="fsdp", **fields)
    first, second = run_alone(alone), run(shared, 2)
    assert losses(second) == pytest.approx(losses(first), abs=1e-4)
    assert_same_weights(alone, shared, "model/model.safetensors")


@pytest.mark.long
@pytest.mark.parametrize(("sharding", "then"), [("ddp", 2), ("ddp", 1), ("fsdp", 2)])
def test_two_processes_that_must_end_leave_a_checkpoint_and_go_on(
    make: Callable[..., TrainingSpec], sharding: str, then: int, tmp_path: Path
) -> None:
    fields: dict[str, Any] = {"method": "full", "rank": None, "learning_rate": 1e-3} if sharding == "fsdp" else {}
    straight, cut = make("straight", **fields), make("cut", sharding=sharding, **fields)

    def end(event: Mapping[str, Any]) -> None:
        if event.get("step") == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(cut, 2, end)
    assert not Path(cut.output).exists()
    (kept,) = (tmp_path / "cut-checkpoints").glob("step-*")
    assert sorted(path.name for path in kept.glob("*/rng_state*")) == ["rng_state_0.pth", "rng_state_1.pth"]
    went_on = run(cut, then) if then > 1 else run_alone(cut)
    begun = next(event["from_step"] for event in went_on if event["event"] == "started")
    assert 3 <= begun < 20
    assert losses(went_on) == pytest.approx(losses(run_alone(straight))[begun:], abs=1e-4)
    assert_same_weights(straight, cut, "model/model.safetensors" if fields else "adapter/adapter_model.safetensors")


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_others(make: Callable[..., TrainingSpec]) -> None:
    spec = make("killed", max_steps=2000)
    children = []

    def kill(event: Mapping[str, Any]) -> None:
        if event.get("step") == 2 and not children:
            children.extend(_workers_of(str(Path(spec.output).with_suffix(".json"))))
            os.kill(children[-1], signal.SIGKILL)

    with pytest.raises(JobFailed):
        run(spec, 2, kill)
    assert not Path(spec.output).exists()
    assert not _workers_of(str(Path(spec.output).with_suffix(".json")))


def _workers_of(path: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode().split("\0")
        except OSError:
            continue
        if path in words and "torch.distributed.run" not in words and "modelyard.training.worker" in words:
            found.append(int(entry.parent.name))
    return sorted(found)


def batches_of(monkeypatch: pytest.MonkeyPatch, rank: int, count: int, num_rows: int, epoch: int) -> list[list[int]]:
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(count))
    batches = RankBatches(num_rows, 8 // count, seed=7)
    batches.set_epoch(epoch)
    assert len(batches) == len(list(batches))
    return list(batches)


@pytest.mark.parametrize("num_rows", [1, 3, 8, 17, 21, 64])
@pytest.mark.parametrize("count", [2, 4, 8])
def test_together_they_take_what_one_takes(monkeypatch: pytest.MonkeyPatch, num_rows: int, count: int) -> None:
    for epoch in (0, 1):
        alone = batches_of(monkeypatch, 0, 1, num_rows, epoch)
        shared = [batches_of(monkeypatch, rank, count, num_rows, epoch) for rank in range(count)]
        for batch, *parts in zip(alone, *shared, strict=True):
            assert all(parts)
            assert sorted(row for part in parts for row in part if row != FILLER) == sorted(batch)


def test_a_filler_teaches_nothing() -> None:
    rows = WithFiller([{"input_ids": [1, 2], "labels": [1, 2]}])
    assert rows[0] == {"input_ids": [1, 2], "labels": [1, 2]}
    assert rows[FILLER] == {"input_ids": [1, 2], "labels": [-100, -100], "filler": True}


@pytest.mark.parametrize(
    ("fields", "devices", "sharding", "says", "fix"),
    [
        ({"batch_size": 6}, 4, "ddp", "batch_size is 6", "batch_size to 4 or 8, or compute.devices to 3"),
        ({"batch_size": 2}, 4, "ddp", "batch_size is 2", "batch_size to 4, or compute.devices to 2"),
        ({"objective": "kto"}, 2, "ddp", "objective 'kto'", "compute.devices to 1"),
        ({}, 2, "fsdp", "method 'lora'", "compute.sharding to ddp"),
    ],
)
def test_what_several_devices_cannot_do_alike_is_refused(
    fields: dict[str, Any], devices: int, sharding: Any, says: str, fix: str
) -> None:
    recipe = Recipe(base="tiny", **fields)
    with pytest.raises(RecipeInvalid, match=says) as raised:
        require_shareable(recipe, devices, sharding)
    assert fix in raised.value.fix
    require_shareable(recipe, 1, "ddp")
