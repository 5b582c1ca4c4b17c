"""Tracking in Weights & Biases, on its servers, on one's own, or offline: WANDB_MODE=offline, then `wandb sync`.

Its key and its server are W&B's own settings (`wandb login`); none of them is read or kept here.
"""

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelyard.core.errors import Unavailable
from modelyard.core.ids import new_id

if importlib.util.find_spec("wandb") is None:
    raise ModuleNotFoundError("No module named 'wandb'", name="wandb")


class WandbTracker:
    """Writes one W&B run for each run, under the run's own id, in one project. Files lie in `folder` first."""

    def __init__(self, project: str, folder: Path) -> None:
        self._project = project
        self._folder = folder
        self._open: dict[str, Any] = {}

    def start(self, run_id: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Begin a run, or take up the one that an interrupted process began. Raises: Unavailable."""
        with self._translated():
            self._open[run_id] = self._init(run_id, name=name, config={**params, **tags})
        return run_id

    def log_metrics(self, tracking_id: str, metrics: Mapping[str, float], step: int) -> None:
        """Add a point to each curve. Raises: Unavailable."""
        with self._translated():
            # A step of our own: W&B drops points of a resumed run whose steps were there before.
            self._run(tracking_id).log({**metrics, "step": step})

    def log_dataset(self, tracking_id: str, name: str, digest: str, source: str) -> None:
        """Name the dataset, by our digest, in the run's configuration. Raises: Unavailable."""
        with self._translated():
            told = {"name": name, "digest": digest, "source": source}
            self._run(tracking_id).config.update({"dataset": told}, allow_val_change=True)

    def log_folder(self, tracking_id: str, folder: Path, name: str) -> None:
        """Keep a folder as an artifact of the run. Raises: Unavailable."""
        with self._translated():
            self._log_artifact(self._run(tracking_id), f"{name}-{tracking_id}", folder, kind=name, aliases=[])

    def finish(self, tracking_id: str, *, failed: bool = False) -> None:
        """End the run. Raises: Unavailable."""
        with self._translated():
            self._run(tracking_id).finish(exit_code=int(failed))
            self._open.pop(tracking_id)

    def mirror_release(self, name: str, tracking_id: str, folder: Path, alias: str) -> None:
        """Keep a release as an artifact with an alias; the same files are the same version. Raises: Unavailable."""
        if not tracking_id:
            return
        with self._translated():
            # A W&B run of its own, grouped with the one that trained: that one has ended.
            run = self._init(new_id(), name=f"{name} {alias}", group=tracking_id, job_type="release")
            self._log_artifact(run, name, folder, kind="release", aliases=[alias])
            run.finish()

    def _run(self, tracking_id: str) -> Any:
        """The run, taken up again where another process began it."""
        if tracking_id not in self._open:
            self._open[tracking_id] = self._init(tracking_id)
        return self._open[tracking_id]

    def _init(self, tracking_id: str, **described: Any) -> Any:
        import wandb

        quiet = wandb.Settings(
            console="off", silent=True, disable_git=True, disable_code=True, disable_job_creation=True,
            # It would watch this process; the one that trains reports by itself.
            x_disable_stats=True,
        )  # fmt: skip
        self._folder.mkdir(parents=True, exist_ok=True)
        run = wandb.init(
            project=self._project,
            id=tracking_id,
            dir=str(self._folder),
            resume="allow",
            reinit="create_new",
            settings=quiet,
            **described,
        )
        run.define_metric("*", step_metric="step")
        return run

    def _log_artifact(self, run: Any, name: str, folder: Path, *, kind: str, aliases: list[str]) -> None:
        import wandb

        artifact = wandb.Artifact(name, type=kind)
        artifact.add_dir(str(folder))
        run.log_artifact(artifact, aliases=aliases)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """W&B's own errors as ours."""
        import wandb

        try:
            yield
        except (wandb.Error, OSError) as error:
            raise Unavailable(
                f"Weights & Biases refused: {(str(error).splitlines() or [type(error).__name__])[0]}",
                expected="a W&B server that knows you",
                fix="run `wandb login`, or keep runs here for later: WANDB_MODE=offline",
            ) from error
