"""A run that is cut off goes on and ends as if nothing had been: the same bytes, the same losses."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from transformers import TrainerControl

from modelyard.core.digests import digest_folder
from modelyard.core.errors import Conflict, Corrupt, Interrupted, JobFailed
from modelyard.training.checkpoints import Checkpoints, RunProgress
from modelyard.training.job import train
from modelyard.training.recipe import Recipe
from modelyard.training.reporting import Reporter
from modelyard.training.spec import TrainingResult, TrainingSpec
from modelyard.training.stopping import Stop
from modelyard.training.trainer import ObjectiveTrainer
from tests.training.conftest import SpecMaker, spec_in

FIELDS = {"max_steps": 12, "batch_size": 2, "sequence_length": 64, "dropout": 0.1, "checkpoint_minutes": 0}
Events = list[dict[str, Any]]


@pytest.fixture
def surviving(make_spec: SpecMaker, tmp_path: Path) -> Callable[..., TrainingSpec]:
    def make(output: str, **fields: object) -> TrainingSpec:
        spec = make_spec(output=output, **{**FIELDS, **fields})
        return msgspec.structs.replace(spec, checkpoints=str(tmp_path / f"{output}-checkpoints"))

    return make


def run(spec: TrainingSpec, *, stop_after: int | None = None) -> tuple[TrainingResult, Events]:
    events: Events = []
    stop = Stop()

    def hear(event: Mapping[str, Any]) -> None:
        events.append(dict(event))
        if event["event"] == "progress" and event["step"] == stop_after:
            stop.ask()

    return train(spec, hear, stop), events


def losses(events: Events) -> list[float]:
    return [event["loss"] for event in events if event["event"] == "progress"]


def adapter_of(spec: TrainingSpec) -> str:
    return digest_folder(Path(spec.output) / "adapter")


@dataclass
class Whole:
    """A run that nothing cut off."""

    spec: TrainingSpec
    result: TrainingResult
    events: Events


@pytest.fixture(scope="module")
def straight(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("straight")
    spec = msgspec.structs.replace(spec_in(folder, base, **FIELDS), checkpoints=str(folder / "checkpoints"))
    return Whole(spec, *run(spec))


@pytest.mark.parametrize("stop_after", [1, 5, 11])
def test_interrupted_is_uninterrupted(surviving: Callable[..., TrainingSpec], straight: Whole, stop_after: int) -> None:
    cut = surviving("cut")
    with pytest.raises(Interrupted, match=f"after step {stop_after} of 12"):
        run(cut, stop_after=stop_after)
    assert not Path(cut.output).exists()
    result, events = run(cut)
    assert next(event for event in events if event["event"] == "started")["from_step"] == stop_after
    assert losses(events) == losses(straight.events)[stop_after:]
    assert adapter_of(cut) == adapter_of(straight.spec)
    for name in ("train_loss", "train_loss_last", "train_tokens", "steps", "validation_loss"):
        assert result.metrics[name] == straight.result.metrics[name]


def test_rows_without_packing_are_resumed_too(surviving: Callable[..., TrainingSpec]) -> None:
    straight, cut = (surviving(name, packing=False, accumulation=2) for name in ("straight", "cut"))
    run(straight)
    with pytest.raises(Interrupted):
        run(cut, stop_after=7)
    run(cut)
    assert adapter_of(cut) == adapter_of(straight)


VALIDATING = {"validate_every": 2, "patience": 2, "learning_rate": 0.3, "max_steps": 40}


@pytest.mark.parametrize(
    ("fields", "stop_after"),
    [(VALIDATING, 3), (VALIDATING, 4), ({"method": "full", "rank": None, "dropout": None}, 5)],
)
def test_whatever_a_run_keeps_outlives_an_interruption(
    surviving: Callable[..., TrainingSpec], fields: dict[str, object], stop_after: int
) -> None:
    straight, cut = surviving("straight", **fields), surviving("cut", **fields)
    whole, _ = run(straight)
    with pytest.raises(Interrupted):
        run(cut, stop_after=stop_after)
    result, _ = run(cut)
    artifact = "model" if fields.get("method") == "full" else "adapter"
    assert digest_folder(Path(cut.output) / artifact) == digest_folder(Path(straight.output) / artifact)
    kept = ("steps", "train_loss", "validation_loss", "best_step", "best_validation_loss")
    assert {name: result.metrics.get(name) for name in kept} == {name: whole.metrics.get(name) for name in kept}


def test_the_best_weights_win_and_patience_ends(surviving: Callable[..., TrainingSpec]) -> None:
    result, events = run(surviving("out", **VALIDATING))
    looks = [event for event in events if event["event"] == "validated"]
    seen = [look["validation_loss"] for look in looks]
    best = seen.index(min(seen))
    assert [look["step"] for look in looks] == list(range(2, 2 * len(looks) + 1, 2))
    assert len(looks) - 1 - best == 2, "patience is two looks"
    assert result.metrics["steps"] == looks[-1]["step"] < 40
    assert result.metrics["best_step"] == looks[best]["step"]
    assert result.metrics["best_validation_loss"] == min(seen)
    assert result.metrics["validation_loss"] == pytest.approx(min(seen), abs=1e-6)


def test_without_patience_the_best_of_all_looks_wins(surviving: Callable[..., TrainingSpec]) -> None:
    result, events = run(surviving("out", validate_every=5, learning_rate=0.3))
    looks = {event["step"]: event["validation_loss"] for event in events if event["event"] == "validated"}
    assert list(looks) == [5, 10, 12]
    assert result.metrics["steps"] == 12
    assert looks[int(result.metrics["best_step"])] == min(looks.values())


def test_a_disk_without_room_costs_a_checkpoint_and_not_the_run(
    surviving: Callable[..., TrainingSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Checkpoints, "has_room", lambda self, num_bytes: False)
    spec = surviving("out")
    _, events = run(spec)
    assert [event["step"] for event in events if event["event"] == "no_room"] == list(range(1, 13))
    assert not list(Path(spec.checkpoints).glob("step-*"))


def test_room_is_measured_in_bytes(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", {})
    assert checkpoints.has_room(1000)
    assert not checkpoints.has_room(1 << 60)


def started(spec: TrainingSpec, path: Path) -> subprocess.Popen[str]:
    path.write_bytes(msgspec.json.encode(spec))
    command = [sys.executable, "-m", "modelyard.training.worker", str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def events_of(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    for line in process.stdout:
        yield json.loads(line)


@pytest.mark.slow
def test_a_killed_process_goes_on(surviving: Callable[..., TrainingSpec], straight: Whole, tmp_path: Path) -> None:
    killed = surviving("killed")
    for step in (3, 8):
        process = started(killed, tmp_path / "spec.json")
        for event in events_of(process):
            if event["event"] == "progress" and event["step"] == step:
                process.kill()
                break
        process.wait()
    _, events = run(killed)
    assert 6 <= next(event for event in events if event["event"] == "started")["from_step"] <= 9
    assert adapter_of(killed) == adapter_of(straight.spec)


@pytest.mark.slow
def test_a_spot_machine_that_goes_leaves_a_checkpoint(surviving: Callable[..., TrainingSpec], tmp_path: Path) -> None:
    spec = surviving("spot", max_steps=2000, checkpoint_minutes=60)
    process = started(spec, tmp_path / "spec.json")
    found = []
    for event in events_of(process):
        found.append(event)
        if event["event"] == "progress" and event["step"] == 4:
            process.send_signal(signal.SIGTERM)
    assert process.wait() == 130
    assert found[-1]["error"]["code"] == "interrupted"
    assert len(list(Path(spec.checkpoints).glob("step-*"))) == 1


def test_a_checkpoint_of_something_else_is_refused(surviving: Callable[..., TrainingSpec]) -> None:
    spec = surviving("cut")
    with pytest.raises(Interrupted):
        run(spec, stop_after=2)
    other = msgspec.structs.replace(spec, recipe={**spec.recipe, "learning_rate": 0.5})
    with pytest.raises(Conflict, match="of another recipe"):
        run(other)
    with pytest.raises(Conflict, match="of another base"):
        run(msgspec.structs.replace(spec, identity={"base": "sha256:other"}))


def test_memory_that_runs_out_halves_the_bites_and_not_the_step(
    surviving: Callable[..., TrainingSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = surviving("small", batch_size=8, precision="float32", dropout=0.0)
    straight = surviving("straight", batch_size=8, precision="float32", dropout=0.0)
    _, all_events = run(straight)
    compute_loss = ObjectiveTrainer.compute_loss
    calls = []

    def short_of_memory(self: ObjectiveTrainer, model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
        if model.training:
            calls.append(self.args.per_device_train_batch_size)
        if model.training and len(calls) > 3 and self.args.per_device_train_batch_size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return compute_loss(self, model, inputs, *rest, **more)

    monkeypatch.setattr(ObjectiveTrainer, "compute_loss", short_of_memory)
    _, events = run(spec)
    told = [(event["micro_batch"], event["accumulation"]) for event in events if event["event"] == "out_of_memory"]
    assert told == [(4, 2), (2, 4)]
    # Three steps were done with eight sequences at once; the rest goes on from there with the same sums.
    assert [event["from_step"] for event in events if event["event"] == "started"] == [0, 3, 3]
    assert losses(events) == pytest.approx(losses(all_events), abs=2e-3)


def test_memory_that_runs_out_with_one_sequence_is_told(
    surviving: Callable[..., TrainingSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: ...")

    monkeypatch.setattr(ObjectiveTrainer, "compute_loss", never)
    with pytest.raises(JobFailed, match="a single sequence of 64 tokens"):
        run(surviving("none"))


def test_one_batch_of_four_is_four_of_one(make_spec: SpecMaker) -> None:
    found = []
    for output, batch_size, accumulation in (("a", 4, 1), ("b", 1, 4)):
        spec = make_spec(
            output=output, batch_size=batch_size, accumulation=accumulation, precision="float32", sequence_length=64
        )
        found.append(losses(run(spec)[1]))
    assert found[0] == pytest.approx(found[1], abs=1e-3)


def progress_at(step: int) -> RunProgress:
    return RunProgress(step=step, losses=[1.0] * step, num_tokens=step, seconds=1.0, micro_batch=2)


def test_the_last_two_are_kept_and_a_broken_one_never_was(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c", {"recipe": "r"})
    assert checkpoints.newest() is None
    for step in (1, 2, 10):
        with checkpoints.publishing(progress_at(step)) as folder:
            (folder / "weights").write_text(str(step))
    with pytest.raises(FileNotFoundError), checkpoints.publishing(progress_at(11)) as folder:
        (folder / "not there" / "weights").write_text("half")
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["step-000000002", "step-000000010"]
    newest = checkpoints.newest()
    assert newest is not None
    assert ((newest.folder / "weights").read_text(), newest.progress.step) == ("10", 10)
    (newest.folder / "progress.json").write_text("{")
    with pytest.raises(Corrupt, match="cannot be read"):
        checkpoints.newest()


class _State:
    global_step, max_steps = 0, 100


def tell(reporter: Reporter, loss: float) -> None:
    _State.global_step += 1
    reporter.on_log(None, _State, TrainerControl(), {"loss": loss, "learning_rate": 0.1, "grad_norm": 1.0})


def tell_often(reporter: Reporter, loss: float) -> None:
    for _ in range(10):
        tell(reporter, loss)


@pytest.mark.parametrize(
    ("later", "says"), [(5.0, "diverged: from 0.50 to"), (float("nan"), "became nan"), (float("inf"), "became inf")]
)
def test_a_loss_that_runs_away_stops_the_run(later: float, says: str) -> None:
    reporter = Reporter(Recipe(base="tiny"), lambda event: None, Stop(), None)
    for _ in range(30):
        tell(reporter, 0.5)
    with pytest.raises(JobFailed, match=says):
        tell_often(reporter, later)


def test_a_loss_that_jumps_now_and_then_is_no_divergence() -> None:
    reporter = Reporter(Recipe(base="tiny"), lambda event: None, Stop(), None)
    for step in range(80):
        tell(reporter, 6.0 if step % 10 == 0 else 0.5)
    assert len(reporter.losses) == 80
