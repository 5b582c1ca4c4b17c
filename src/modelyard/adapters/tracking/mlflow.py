"""Tracking in MLflow: a server by its URL, or a SQLite file of our own.

MLflow takes seconds to import and to set up a new file, so both wait for the first call.
"""

import importlib.util
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from modelyard.core.clock import now_ms
from modelyard.core.digests import digest_folder
from modelyard.core.errors import Unavailable

if importlib.util.find_spec("mlflow") is None:
    raise ModuleNotFoundError("No module named 'mlflow'", name="mlflow")

RUN_TAG = "modelyard.run_id"
DIGEST_TAG = "modelyard.digest"
_MAX_VALUE = 5000
_USER = re.compile(r"://[^\s@/:]*(?::\S*)?@")
_DIGEST_LENGTH = 36  # the width of the digest in MLflow's own tables


class MlflowTracker:
    """Writes one MLflow run for each run, in one experiment, and mirrors releases to the model registry."""

    def __init__(self, uri: str, experiment: str, artifact_root: Path | None = None) -> None:
        """`artifact_root` is where a new experiment keeps its files; without it the server decides."""
        self.uri = uri
        self.experiment = experiment
        self._artifact_root = artifact_root

    def start(self, run_id: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Begin a run, or take up the one that an interrupted process began. Raises: Unavailable."""
        from mlflow.entities import Param

        with self._translated():
            tracking_id = self._find(run_id)
            if tracking_id:
                self._client.update_run(tracking_id, status="RUNNING")
                return tracking_id
            every_tag = {**tags, RUN_TAG: run_id}
            run = self._client.create_run(self._experiment_id, run_name=name, tags=every_tag)
            logged = [Param(key, str(value)[:_MAX_VALUE]) for key, value in params.items()]
            self._client.log_batch(run.info.run_id, params=logged)
            return str(run.info.run_id)

    def log_metrics(self, tracking_id: str, metrics: Mapping[str, float], step: int) -> None:
        """Add a point to each curve. Raises: Unavailable."""
        from mlflow.entities import Metric

        at_ms = now_ms()
        with self._translated():
            points = [Metric(name, float(value), at_ms, step) for name, value in metrics.items()]
            self._client.log_batch(tracking_id, metrics=points)

    def log_dataset(self, tracking_id: str, name: str, digest: str, source: str) -> None:
        """Name the dataset as an input of the run; the whole digest is a tag, as the input has room for 36 digits."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=name,
            digest=digest.removeprefix("sha256:")[:_DIGEST_LENGTH],
            source_type="modelyard",
            source=source,
        )
        with self._translated():
            self._client.log_inputs(tracking_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
            self._client.set_tag(tracking_id, "modelyard.dataset_digest", digest)

    def log_folder(self, tracking_id: str, folder: Path, name: str) -> None:
        """Keep a folder as an artifact of the run. Raises: Unavailable."""
        with self._translated():
            self._client.log_artifacts(tracking_id, str(folder), name)

    def finish(self, tracking_id: str, *, failed: bool = False) -> None:
        """End the run. Raises: Unavailable."""
        with self._translated():
            self._client.set_terminated(tracking_id, "FAILED" if failed else "FINISHED")

    def mirror_release(self, name: str, tracking_id: str, folder: Path, alias: str) -> None:
        """Point an alias at the version with this content, made where there is none. Raises: Unavailable."""
        digest = digest_folder(folder)
        with self._translated():
            version = self._version(name, digest) or self._new_version(name, digest, tracking_id, folder)
            self._client.set_registered_model_alias(name, alias, version)

    @cached_property
    def _client(self) -> Any:
        # Read when MLflow is imported: it would report our use otherwise.
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        # Its own defaults would keep a person waiting for minutes where the server is away.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        for chatty in ("mlflow", "alembic"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        if self.uri.startswith("sqlite:///"):
            Path(self.uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        from mlflow.tracking import MlflowClient

        return MlflowClient(self.uri, self.uri)

    @cached_property
    def _experiment_id(self) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(self.experiment)
        if found is None:
            location = self._artifact_root.resolve().as_uri() if self._artifact_root else None
            try:
                return str(self._client.create_experiment(self.experiment, artifact_location=location))
            except MlflowException:  # another process made it in between, or there is a real reason
                found = self._client.get_experiment_by_name(self.experiment)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _find(self, run_id: str) -> str:
        found = self._client.search_runs([self._experiment_id], f"tags.`{RUN_TAG}` = '{run_id}'", max_results=1)
        return str(found[0].info.run_id) if found else ""

    def _version(self, name: str, digest: str) -> str:
        found = self._client.search_model_versions(f"name = '{name}' and tags.`{DIGEST_TAG}` = '{digest}'")
        return str(found[0].version) if found else ""

    def _new_version(self, name: str, digest: str, tracking_id: str, folder: Path) -> str:
        if not self._client.search_registered_models(f"name = '{name}'"):
            self._client.create_registered_model(name)
        source = folder.resolve().as_uri()
        if tracking_id:
            self._client.log_artifacts(tracking_id, str(folder), "release")
            source = f"{self._client.get_run(tracking_id).info.artifact_uri}/release"
        version = self._client.create_model_version(
            name, source, run_id=tracking_id or None, tags={DIGEST_TAG: digest}, await_creation_for=0
        )
        return str(version.version)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """MLflow's own errors as ours, without the password that a tracking URI may hold."""
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            seen = f"MLflow at {self.uri} refused: {(str(error).splitlines() or [type(error).__name__])[0]}"
            raise Unavailable(
                _without_users(seen), fix="check the tracking URI, or set MODELYARD_TRACKING=none to do without"
            ) from error


def _without_users(text: str) -> str:
    """A text with the user and the password taken out of every URI in it."""
    return _USER.sub("://", text)
