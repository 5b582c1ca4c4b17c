"""The training process on two workers of a Ray cluster on this machine, for real."""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelyard.core.errors import JobFailed
from modelyard.ports.compute import Compute
from modelyard.training.spec import TrainingSpec, read_result
from tests.training.conftest import base, make_spec  # noqa: F401 - fixtures

pytest.importorskip("ray")

pytestmark = pytest.mark.long
FIELDS = {"packing": False, "sequence_length": 64, "precision": "float32", "checkpoint_minutes": 60}


@pytest.fixture(scope="module")
def compute(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compute]:
    from modelyard.adapters.compute.ray_train import RayTrainCompute

    compute = RayTrainCompute("local", workers=2, storage=tmp_path_factory.mktemp("ray"), gpus=False, grace_s=60)
    yield compute
    compute.close()


def command_of(spec: TrainingSpec, path: Path) -> list[str]:
    path.write_bytes(msgspec.json.encode(spec))
    return [sys.executable, "-m", "modelyard.training.worker", str(path)]


def test_two_workers_train_one_model_and_tell_of_it(
    compute: Compute,
    make_spec: Callable[..., TrainingSpec],  # noqa: F811
    tmp_path: Path,
) -> None:
    spec = make_spec(61, max_steps=5, **FIELDS)
    events: list[Mapping[str, Any]] = []
    compute.run(command_of(spec, tmp_path / "spec.json"), env={}, progress=events.append)
    assert [event["event"] for event in events if event["event"] != "warned"] == [
        "preflight",
        "started",
        *["progress"] * 5,
        "finished",
    ]
    assert read_result(Path(spec.output)).metrics == events[-1]["metrics"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".out", "out"))] == ["out"]


def test_a_listener_that_raises_ends_the_workers_which_save(
    compute: Compute,
    make_spec: Callable[..., TrainingSpec],  # noqa: F811
    tmp_path: Path,
) -> None:
    spec = make_spec(61, max_steps=5000, **FIELDS)
    kept = tmp_path / "checkpoints"
    spec = msgspec.structs.replace(spec, checkpoints=str(kept))

    def listen(event: Mapping[str, Any]) -> None:
        if event.get("step") == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute.run(command_of(spec, tmp_path / "spec.json"), env={}, progress=listen)
    assert not Path(spec.output).exists()
    assert len(list(kept.glob("step-*"))) == 1


def test_what_goes_wrong_on_a_worker_is_told(
    compute: Compute,
    make_spec: Callable[..., TrainingSpec],  # noqa: F811
    tmp_path: Path,
) -> None:
    events: list[Mapping[str, Any]] = []
    spec = make_spec(61, batch_size=3, **FIELDS)
    with pytest.raises(JobFailed, match="the Ray Train job failed"):
        compute.run(command_of(spec, tmp_path / "spec.json"), env={}, progress=events.append)
    assert events[0]["error"]["seen"] == "batch_size is 3, which does not divide over 2 devices"
