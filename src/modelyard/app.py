"""The one place that picks adapters: a project file and the settings in, an `App` with everything wired out."""

import difflib
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import InvalidInput, MissingExtra, NotFound
from modelyard.core.money import nanousd
from modelyard.ports.release import ModelRef, Release
from modelyard.project.loading import FILE_NAME, load_project
from modelyard.settings import Places, Settings, secret

if TYPE_CHECKING:
    from modelyard.adapters.processes import ServerProcess
    from modelyard.datasets.synthesis.config import SynthesisConfig
    from modelyard.evaluation.parity import Tokenize
    from modelyard.ports.compute import Compute
    from modelyard.ports.engine import Capabilities, Connect, Engine, Finding
    from modelyard.ports.exporter import Exporter
    from modelyard.ports.teacher import Teacher
    from modelyard.ports.telemetry import Telemetry
    from modelyard.ports.tracking import Tracker
    from modelyard.ports.workers import Workers
    from modelyard.project.model import Project
    from modelyard.workflows.tools import Tools
    from modelyard.workflows.watching import TrainingTerms

_STATE_FOLDER = ".modelyard"
SHIPPED_BASES = {"dinghy-6m": Path(__file__).parent / "demo" / "base"}
# Longer than the gateway lets requests in flight finish (30 s).
_GATEWAY_GRACE_S = 35.0
# Where we are killed, the gateway's last answers still come from it: otherwise they would count against its releases.
_ENGINE_LINGER_S = 1.0
# To end its step and write a checkpoint, whatever its size.
_JOB_GRACE_S = 120.0
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
    return App(load_project(path), path, settings)


def check_engine(url: str, kind: str, **options: Any) -> "list[Finding]":
    """What a running engine does, check by check. Needs no project."""
    from modelyard.adapters.engines.conformance import check_engine

    return check_engine(url, kind, **options)


def _make_state(folder: Path) -> None:
    """Make the state folder, kept out of Git: what changes with every run would make every lineage look dirty."""
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")


class App(AbstractContextManager["App"]):
    """A project with its stores. Each adapter is made when it is first used, so that light commands stay light."""

    def __init__(self, project: "Project", project_file: Path, settings: Settings) -> None:
        self.project = project
        self.project_file = project_file
        self.settings = settings
        root = project_file.parent
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
        from modelyard.workflows.tools import Tools

        places, settings = self.places, self.settings
        _make_state(places.state)
        return Tools(
            records=open_records(settings.records or f"sqlite:///{places.state / 'records.db'}"),
            blobs=FsspecBlobs(settings.blobs or str(places.blobs), places.cache),
            tracker=self._tracker(),
            compute=self._compute(),
            workers=self._workers(),
            actor=settings.user,
            owner=self.project.owner or settings.user,
            root=places.root,
            state=places.state,
            bases=self._bases(),
            project=self.project.project,
        )

    def _workers(self) -> "Workers":
        """What prepares data: processes of this machine, or a Ray cluster."""
        compute = self.project.compute
        if compute.ray:
            from modelyard.adapters.compute.ray import RayWorkers

            return RayWorkers(compute.ray)
        from modelyard.adapters.compute.pool import ProcessWorkers

        return ProcessWorkers(compute.workers, preload=["modelyard.datasets.pipeline.preloading"])

    def _compute(self) -> "Compute":
        """What trains: processes of this machine, or workers of a Ray cluster."""
        config, log = self.project.compute, self.places.logs / "jobs.log"
        if config.train_on == "ray":
            from modelyard.adapters.compute.ray_train import RayTrainCompute

            return RayTrainCompute(config.ray, workers=config.devices, storage=self.places.logs, grace_s=_JOB_GRACE_S)
        from modelyard.adapters.compute.local import LocalCompute

        return LocalCompute(log, grace_s=_JOB_GRACE_S, processes=config.devices)

    @property
    def training_terms(self) -> "TrainingTerms":
        """What training must heed."""
        from modelyard.workflows.watching import TrainingTerms

        compute = self.project.compute
        return TrainingTerms(
            engine=self._capabilities(),
            nanousd_per_hour=nanousd(compute.device_price),
            pricing=compute.pricing,
            devices=compute.devices,
            sharding=compute.sharding,
        )

    @property
    def exporters(self) -> "dict[str, Exporter]":
        """What runs can be exported as, by the word for it. Whether a tool is there shows when it is asked."""
        from modelyard.adapters.exporters.gguf import GgufExporter
        from modelyard.adapters.exporters.quantized import quantized_exporters
        from modelyard.training.exports import MergedExporter

        named, root = self.settings.environments, self.places.root
        places = (Path(named).absolute(),) if named else (root, *root.parents)
        found: tuple[Exporter, ...] = (MergedExporter(), GgufExporter(places), *quantized_exporters(places))
        return {one.format: one for one in found}

    def named(self, section: str, name: str) -> Any:
        """An entry of the project file. Raises: NotFound with the names there are."""
        entries: dict[str, Any] = getattr(self.project, section)
        if name in entries:
            return entries[name]
        near = difflib.get_close_matches(name, entries, n=1)
        raise NotFound(
            f"the project file has no entry '{name}' under '{section}'",
            expected=", ".join(entries) or "an entry",
            fix=f"did you mean '{near[0]}'?" if near else f"add it to {FILE_NAME}",
        )

    def refs(self) -> dict[str, str]:
        """The short names of all releases by their digests."""
        return {release.digest: release.ref for release in self.tools.records.releases.newest()}

    def connect(self, url: str) -> "Engine":
        """A client of a running engine."""
        from modelyard.adapters.engines.client import HttpEngine

        return HttpEngine(url, self._capabilities())

    def teacher(self, config: "SynthesisConfig") -> "Teacher":
        """A client of the teacher of a synthesis. Raises: InvalidInput where its key is not there."""
        from modelyard.adapters.teachers.openai import OpenAITeacher

        return OpenAITeacher(
            config.url,
            config.model,
            key=secret(config.key_env),
            limit_field=config.limit_field,
            extra=config.extra,
            timeout_s=config.timeout_s,
            retries=config.retries,
            connections=config.concurrency,
        )

    def telemetry(self) -> "Telemetry | None":
        """What recorded answers are told to, None where the project file turns nothing on. Raises: MissingExtra."""
        config = self.project.telemetry
        if not config.enabled:
            return None
        from modelyard.adapters.telemetry.otlp import OtlpTelemetry

        return OtlpTelemetry(service_name=self.project.project, content=config.content)

    @contextmanager
    def engine_for(self, base: ModelRef) -> Iterator["Connect"]:
        """An engine for one piece of work: the running one of the project file, or one started for it."""
        if url := self.project.engine.url:
            yield lambda: self.connect(url)
            return
        with self.engine_process(base.name) as process:
            process.wait_ready()
            yield lambda: self.connect(process.url)

    def engine_process(self, base: str = "") -> "ServerProcess":
        """The built-in engine as a child process, starting. It serves one base, by default that of the services."""
        from modelyard.adapters.engines.builtin.command import builtin_command
        from modelyard.adapters.processes import ServerProcess, free_port

        config = self.project.engine
        base = base or self._base()
        port = config.port or free_port(config.host)
        command = builtin_command(
            self.tools.base_folder(base),
            Path(base).name,
            host=config.host,
            port=port,
            max_batch=config.max_batch,
            threads=config.threads,
        )
        log = self.places.logs / "engine.log"
        url = f"http://{config.host}:{port}"
        return ServerProcess("engine", command, url=url, log=log, linger_s=_ENGINE_LINGER_S)

    def gateway_process(self, port: int | None = None) -> "ServerProcess":
        """The gateway as a child process, starting. `port` outranks the project file; 0 takes any free one."""
        from modelyard.adapters.processes import ServerProcess, free_port

        config, places = self.project.gateway, self.places
        port = config.port if port is None else port
        port = port or free_port(config.host)
        options = {"table": places.route_table, "journal": places.journal, "host": config.host, "port": port}
        flags = [text for key, value in options.items() for text in (f"--{key}", str(value))]
        command = [sys.executable, "-m", "modelyard.gateway.server", *flags, *config.flags(places.root)]
        url = f"{'https' if config.tls else 'http'}://{config.host}:{port}"
        log = places.logs / "gateway.log"
        return ServerProcess("gateway", command, url=url, log=log, ready_path="/ready", grace_s=_GATEWAY_GRACE_S)

    def tokenizer_of(self, release: Release) -> "Tokenize":
        """The training side's tokenizer of a release's base, for the parity check."""
        from modelyard.training.tokenization import ChatTokenizer

        return ChatTokenizer(self.tools.base_folder(release.base.name)).tokenize

    def _bases(self) -> dict[str, Path]:
        """Every base by the name that engines know it by. Raises: InvalidInput where a name means two folders."""
        bases = dict(SHIPPED_BASES)
        for recipe in self.project.recipes.values():
            if recipe.base in SHIPPED_BASES:
                continue
            name, folder = Path(recipe.base).name, (self.places.root / recipe.base).resolve()
            if bases.setdefault(name, folder) != folder:
                raise InvalidInput(
                    f"two bases go by the name '{name}': {bases[name]} and {folder}",
                    expected="a name for each, as engines know bases by the names of their folders",
                    fix="rename one of the folders",
                )
        return bases

    def _base(self) -> str:
        """The base of the services' recipes, as the project file writes it."""
        recipes = [self.project.recipes[service.recipe] for service in self.project.services.values()]
        bases = sorted({recipe.base for recipe in recipes})
        if len(bases) == 1:
            return bases[0]
        raise InvalidInput(
            f"the services are built on {len(bases)} bases: {', '.join(bases) or 'none'}",
            expected="one, as the built-in engine serves one base",
            fix="use one base, or a running engine by `engine.url`",
        )

    def _capabilities(self) -> "Capabilities":
        from modelyard.adapters.engines.capabilities import BUILTIN, VLLM

        return VLLM if self.project.engine.kind == "vllm" else BUILTIN

    def _tracker(self) -> "Tracker":
        """What MODELYARD_TRACKING names: one tracker, or several separated by commas."""
        named = [one.strip() for one in self.settings.tracking.split(",") if one.strip()] or [""]
        if len(named) == 1:
            return self._tracker_of(named[0])
        from modelyard.adapters.tracking.several import SeveralTrackers

        kinds = [one.partition(":")[0] for one in named]
        if len(set(kinds)) < len(kinds):
            raise InvalidInput(
                f"MODELYARD_TRACKING names a tracker twice: {', '.join(kinds)}", expected="one of each kind at most"
            )
        return SeveralTrackers({kind: self._tracker_of(one) for kind, one in zip(kinds, named, strict=True)})

    def _tracker_of(self, named: str) -> "Tracker":
        kind, _, rest = named.partition(":")
        if named == "none":
            from modelyard.adapters.tracking.none import NoTracker

            return NoTracker()
        state, project = self.places.state, self.project.project
        try:
            if kind == "wandb":
                from modelyard.adapters.tracking.wandb import WandbTracker

                return WandbTracker(rest or project, state / "wandb")
            if kind == "tensorboard":
                from modelyard.adapters.tracking.tensorboard import TensorBoardTracker

                return TensorBoardTracker(self.places.root / (rest or state / "tensorboard"))
            from modelyard.adapters.tracking.mlflow import MlflowTracker
        except ModuleNotFoundError as error:
            package = error.name or "mlflow"
            raise MissingExtra(package, {"mlflow": "tracking"}.get(package, package)) from error
        uri = f"sqlite:///{state / 'mlflow.db'}" if named in ("", "mlflow") else named
        return MlflowTracker(uri, project, state / "mlflow")
