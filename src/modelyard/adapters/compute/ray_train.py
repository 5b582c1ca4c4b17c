"""Batch work as the workers of a Ray Train job. All of them must see the folders that the command names."""

import os
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from modelyard.adapters.compute.local import GRACE_S, LocalCompute
from modelyard.core.errors import Interrupted, JobFailed, MissingExtra
from modelyard.core.ids import new_id
from modelyard.ports.compute import Progress

try:
    import ray
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer
except ModuleNotFoundError as error:
    raise MissingExtra("ray", "ray") from error

from modelyard.adapters.compute.ray import RayWorkers

_LOOK_S = 0.2


class RayTrainCompute:
    """Runs a command once on each of several workers, which know their place by torch's environment variables.

    `address` is that of RayWorkers. With `gpus` each worker has a GPU of its own.
    """

    def __init__(
        self, address: str, *, workers: int, storage: Path, gpus: bool | None = None, grace_s: float = GRACE_S
    ) -> None:
        """`storage` is a folder for what Ray Train notes of a job."""
        self._cluster = RayWorkers(address)
        self._workers = workers
        self._storage = storage
        self._gpus = gpus
        self._grace_s = grace_s

    def run(self, command: Sequence[str], *, env: Mapping[str, str], progress: Progress) -> None:
        """See `Compute.run`. Raises: Unavailable where no cluster answers."""
        self._cluster.connect()
        mailbox: Any = ray.remote(_Mailbox).options(num_cpus=0).remote()
        job = _Job(self._trainer({"command": list(command), "env": dict(env), "mailbox": mailbox}))
        try:
            is_done = False
            while not is_done:
                job.join(_LOOK_S)
                is_done = not job.is_alive()
                for event in ray.get(mailbox.take.remote()):
                    progress(event)
        finally:
            ray.get(mailbox.end.remote())  # where the listener raised, the workers save their work and end
            job.join()
            ray.kill(mailbox)
        if job.error is not None:
            raise JobFailed(
                f"the Ray Train job failed: {job.error}", fix=f"see {self._storage / 'ray'} and `ray status`"
            ) from job.error

    def close(self) -> None:
        """Leave the cluster; one on this machine ends."""
        self._cluster.close()

    def _trainer(self, work: dict[str, Any]) -> Any:
        gpus = ray.cluster_resources().get("GPU", 0) > 0 if self._gpus is None else self._gpus
        return TorchTrainer(
            _work,
            train_loop_config={**work, "grace_s": self._grace_s, "path": sys.path},
            torch_config=TorchConfig(backend="gloo"),
            scaling_config=ray.train.ScalingConfig(num_workers=self._workers, use_gpu=gpus),
            run_config=ray.train.RunConfig(name=new_id(), storage_path=str(self._storage / "ray")),
        )


class _Job(threading.Thread):
    """A job that runs beside who listens to it."""

    def __init__(self, trainer: Any) -> None:
        super().__init__(daemon=True)
        self._trainer = trainer
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._trainer.fit()
        except Exception as error:
            self.error = error


class _Mailbox:
    """What the workers tell, until somebody takes it; and whether they are to end."""

    def __init__(self) -> None:
        self._events: list[Mapping[str, Any]] = []
        self._ended = False

    def put(self, event: Mapping[str, Any]) -> bool:
        self._events.append(event)
        return self._ended

    def take(self) -> list[Mapping[str, Any]]:
        events, self._events = self._events, []
        return events

    def end(self) -> None:
        self._ended = True


def _work(config: dict[str, Any]) -> None:
    """On a worker: run the command in a process of its own, in the same place among its like."""
    mailbox = config["mailbox"]

    def tell(event: Mapping[str, Any]) -> None:
        if ray.get(mailbox.put.remote(event)):
            raise Interrupted("nobody listens any more")

    env = {**config["env"], **_place(), "PYTHONPATH": os.pathsep.join(config["path"])}
    with suppress(Interrupted):
        LocalCompute(grace_s=config["grace_s"]).run(config["command"], env=env, progress=tell)


def _place() -> dict[str, str]:
    """The environment of torch.distributed, with a meeting point of the commands' own: Ray's workers hold theirs."""
    from torch import distributed

    told: list[Any] = [None]
    context = ray.train.get_context()
    if context.get_world_rank() == 0:
        with socket.socket() as free:
            free.bind(("", 0))
            told = [free.getsockname()[1]]
    distributed.broadcast_object_list(told)
    return {
        "MASTER_ADDR": os.environ["MASTER_ADDR"],
        "MASTER_PORT": str(told[0]),
        "RANK": str(context.get_world_rank()),
        "LOCAL_RANK": str(context.get_local_rank()),
        "WORLD_SIZE": str(context.get_world_size()),
        "LOCAL_WORLD_SIZE": str(context.get_local_world_size()),
    }
