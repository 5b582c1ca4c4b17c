"""Tracking in TensorBoard: event files in a folder, one subfolder a run. It keeps curves and texts, but no files."""

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelyard.core.clock import now_ms
from modelyard.core.errors import Unavailable

if importlib.util.find_spec("tensorboard") is None:
    raise ModuleNotFoundError("No module named 'tensorboard'", name="tensorboard")

_CARD = "README.md"


class TensorBoardTracker:
    """Writes what `tensorboard --logdir FOLDER` shows. A run goes by its own id, the name of its subfolder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, Any] = {}

    def start(self, run_id: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Begin a run, or write on in its subfolder. Raises: Unavailable."""
        rows = {"name": name, **params, **tags}
        lines = [f"| {key} | {' '.join(str(value).split())} |" for key, value in rows.items()]
        self._add(run_id, 0, _text("recipe", "\n".join(["| setting | value |", "|---|---|", *lines])))
        return run_id

    def log_metrics(self, tracking_id: str, metrics: Mapping[str, float], step: int) -> None:
        """Add a point to each curve. Raises: Unavailable."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._add(tracking_id, step, *(Summary.Value(tag=tag, simple_value=value) for tag, value in metrics.items()))

    def log_dataset(self, tracking_id: str, name: str, digest: str, source: str) -> None:
        """Say which dataset was used, as a text. Raises: Unavailable."""
        self._add(tracking_id, 0, _text("dataset", f"`{name}` `{digest}` from `{source}`"))

    def log_folder(self, tracking_id: str, folder: Path, name: str) -> None:
        """Show the folder's card where it has one; TensorBoard has no place for files. Raises: Unavailable."""
        if (folder / _CARD).is_file():
            self._add(tracking_id, 0, _text(name, (folder / _CARD).read_text()))

    def finish(self, tracking_id: str, *, failed: bool = False) -> None:
        """End the run; TensorBoard knows no states, so a text tells how. Raises: Unavailable."""
        self._add(tracking_id, 0, _text("state", "failed" if failed else "finished"))
        with self._translated():
            self._writers.pop(tracking_id).close()

    def mirror_release(self, name: str, tracking_id: str, folder: Path, alias: str) -> None:
        """TensorBoard has no registry."""

    def _add(self, tracking_id: str, step: int, *values: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        event = Event(wall_time=now_ms() / 1000, step=step, summary=Summary(value=values))
        with self._translated():
            writer = self._writer(tracking_id)
            writer.add_event(event)
            writer.flush()

    def _writer(self, tracking_id: str) -> Any:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        if tracking_id not in self._writers:
            self._writers[tracking_id] = EventFileWriter(str(self._folder / tracking_id))
        return self._writers[tracking_id]

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Unavailable(
                f"TensorBoard's folder {self._folder} cannot be written: {error.strerror or error}",
                fix="name another one: MODELYARD_TRACKING=tensorboard:FOLDER",
            ) from error


def _text(tag: str, text: str) -> Any:
    """A Markdown text as TensorBoard's text plugin reads it."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.plugins.text.metadata import create_summary_metadata

    tensor = TensorProto(dtype="DT_STRING", string_val=[text.encode()])
    tensor.tensor_shape.dim.add(size=1)
    metadata = create_summary_metadata(display_name=tag, description="")
    return Summary.Value(tag=tag, metadata=metadata, tensor=tensor)
