"""The one place that picks adapters: a project file and the settings in, an `App` with everything wired out."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from modelyard.core.errors import MissingExtra, NotFound
from modelyard.project.loading import FILE_NAME, load_project
from modelyard.settings import Places, Settings

if TYPE_CHECKING:
    from modelyard.ports.tracking import Tracker
    from modelyard.project.model import Project
    from modelyard.workflows.tools import Tools

_STATE_FOLDER = ".modelyard"
DEMO_PROJECT = Path(_STATE_FOLDER) / "demo" / FILE_NAME


def find_project(named: str = "", settings: Settings | None = None) -> Path:
    """The project file: the one named, else MODELYARD_PROJECT, else the nearest upwards, else the demo's.

    Raises: NotFound.
    """
    settings = settings or Settings.from_environment()
    if chosen := named or settings.project:
        path = Path(chosen)
        return (path / FILE_NAME if path.is_dir() else path).absolute()
    for path in _candidates(Path.cwd()):
        if path.is_file():
            return path
    raise NotFound(
        f"there is no {FILE_NAME} in {Path.cwd()} or above it",
        fix="name one with --project, or try `modelyard demo`, which makes one",
    )


def _candidates(folder: Path) -> Iterator[Path]:
    for place in (folder, *folder.parents):
        yield place / FILE_NAME
    yield folder / DEMO_PROJECT


def open_app(named: str = "", settings: Settings | None = None) -> "App":
    """The app of a project file (see `find_project`)."""
    settings = settings or Settings.from_environment()
    path = find_project(named, settings)
    return App(load_project(path), path.parent, settings)


class App(AbstractContextManager["App"]):
    """A project with its stores. Each adapter is made when it is first used, so that light commands stay light."""

    def __init__(self, project: "Project", root: Path, settings: Settings) -> None:
        self.project = project
        self.settings = settings
        state = Path(settings.state) if settings.state else root / _STATE_FOLDER
        self.places = Places(root=root, state=state.absolute())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if "tools" in self.__dict__:
            self.tools.records.close()

    @cached_property
    def tools(self) -> "Tools":
        """The stores, opened; what is missing is created."""
        try:
            from modelyard.adapters.blobs.store import FsspecBlobs
            from modelyard.adapters.records.store import open_records
        except ModuleNotFoundError as error:
            raise MissingExtra(error.name or "sqlalchemy", "records") from error
        from modelyard.adapters.compute.local import LocalCompute
        from modelyard.workflows.tools import Tools

        places, settings = self.places, self.settings
        places.state.mkdir(parents=True, exist_ok=True)
        return Tools(
            records=open_records(settings.records or f"sqlite:///{places.state / 'records.db'}"),
            blobs=FsspecBlobs(settings.blobs or str(places.blobs), places.cache),
            tracker=self._tracker(),
            compute=LocalCompute(places.logs / "jobs.log"),
            actor=self.project.owner or settings.user,
            root=places.root,
            state=places.state,
        )

    def _tracker(self) -> "Tracker":
        if self.settings.tracking == "none":
            from modelyard.adapters.tracking.none import NoTracker

            return NoTracker()
        try:
            from modelyard.adapters.tracking.mlflow import MlflowTracker
        except ModuleNotFoundError as error:
            raise MissingExtra(error.name or "mlflow", "tracking") from error
        uri = self.settings.tracking or f"sqlite:///{self.places.state / 'mlflow.db'}"
        return MlflowTracker(uri, self.project.project, self.places.state / "mlflow")
