"""A Recipe and a Dataset in, a recorded Run with what it made out."""

import logging
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.clock import now_ms
from modelyard.core.errors import Conflict, Interrupted, JobFailed, ModelyardError, NotFound, Pruned
from modelyard.core.locks import hold, locked
from modelyard.ports.dataset import Dataset
from modelyard.ports.run import Run, RunState
from modelyard.registry.cards import run_card
from modelyard.training.examples import write_examples
from modelyard.training.lineage import capture_lineage, describe_base
from modelyard.training.recipe import Recipe
from modelyard.training.scale import require_shareable
from modelyard.training.spec import CURVE, TrainingResult, TrainingSpec, artifact_of, read_result
from modelyard.training.weights import num_parameters
from modelyard.workflows.datasets import examples_of
from modelyard.workflows.expectations import demand_expectations
from modelyard.workflows.tools import Progress, Tools, silent
from modelyard.workflows.troubles import Troubles
from modelyard.workflows.watching import ENERGY, TrainingTerms, Watch

log = logging.getLogger(__name__)


Listener = Callable[[Mapping[str, Any]], None]


def unheard(event: Mapping[str, Any]) -> None:
    """What hears the events of a training process and has nothing to say."""


def train_run(
    tools: Tools,
    run_id: str,
    name: str,
    recipe: Recipe,
    dataset: Dataset,
    terms: TrainingTerms,
    progress: Progress = silent,
    *,
    reproduces: str = "",
    parent: str = "",
    listen: Listener = unheard,
) -> Run:
    """Train in a process of its own, store what it made, record the run; `reproduces` is the run that it repeats.

    A run that was cut off goes on from its last checkpoint; one that has finished is returned as it is. `listen` hears
    every event, and may end the run by raising. `parent` is the sweep that the run belongs to.
    Raises: DataInvalid where the dataset is not what was expected of it; RecipeInvalid; Interrupted where it was told
    to end.
    """
    done = _recorded(tools, run_id)
    if done and done.state == "finished":
        return done
    require_shareable(recipe, terms.devices, terms.sharding)
    demand_expectations(tools, dataset)
    with alive(tools, run_id):
        begun = begin(tools, run_id, name, recipe, dataset, terms, reproduces=reproduces, parent=parent)
        watch = Watch(tools, begun, terms, progress)
        try:
            with tools.scratch() as folder:
                result = _train(tools, folder, watch, recipe, dataset, terms, listen)
                trained = folder / "output" / artifact_of(recipe)
                curve = tools.blobs.put_bytes(msgspec.json.encode(result.curve))
                artifacts = {trained.name: tools.blobs.put_folder(trained), CURVE: curve}
                run = _finished(watch.run, result, artifacts)
                _tell(tools, run, dataset, folder, trained)
            tools.records.runs.put(run)
            forget_checkpoints(tools, run.id)
            return run
        except BaseException as error:  # Ctrl-C too: nobody works on the run any more
            fail(tools, watch.run, error, f"modelyard run resume {run_id}")
            raise


def resume_run(tools: Tools, ref: str, terms: TrainingTerms, progress: Progress = silent) -> Run:
    """Go on with a run that failed, was interrupted or died here, from its last checkpoint, or else from the start.

    Raises: NotFound; Conflict where it has finished, or is being trained.
    """
    run = tools.records.runs.find(ref)
    if run.sweep or run.parent:
        raise Conflict(
            f"the run {run.id} {'stands for' if run.sweep else 'belongs to'} a sweep",
            expected="a run of its own",
            fix="start the sweep again, which goes on where it was: modelyard sweep run",
        )
    state = state_of(tools, run)
    if state not in ("failed", "interrupted", "died"):
        raise Conflict(
            f"the run {run.id} is {state.rstrip('?')}",
            expected="one that failed, was interrupted or died",
            fix="on the machine that trains it, look: modelyard run list" if state == "running?" else "",
        )
    dataset = tools.records.datasets.get(run.lineage.dataset_digest)
    return train_run(tools, run.id, run.name, Recipe.model_validate(run.recipe), dataset, terms, progress)


def state_of(tools: Tools, run: Run) -> str:
    """The state of a run for people: `died` where the process that trained it here was killed.

    A run that is said to be running may be trained on another machine, where we cannot look: `running?`.
    """
    if run.state != "running":
        return run.state
    try:
        with locked(_alive_file(tools, run.id)):
            return "died"
    except Conflict:
        return "running"
    except FileNotFoundError:
        return "running?"


@contextmanager
def alive(tools: Tools, run_id: str) -> Iterator[None]:
    """Hold a lock while a run is trained: where we are killed, the system gives it back and its file tells of it.

    Raises: Conflict where another process trains it.
    """
    file = _alive_file(tools, run_id)
    file.parent.mkdir(parents=True, exist_ok=True)
    with hold(file, f"the run {run_id} is being trained"):
        try:
            yield
        finally:
            file.unlink()


def _alive_file(tools: Tools, run_id: str) -> Path:
    return tools.state / "runs" / f"{run_id}.lock"


def fail(tools: Tools, run: Run, error: BaseException, go_on: str) -> None:
    """Write down that a run failed, or how to go on. A store that is away must not hide why."""
    state, said = _ended(error, go_on)
    failed = msgspec.structs.replace(run, state=state, finished_ms=now_ms(), error=said or type(error).__name__)
    try:
        tools.records.runs.put(failed)
        tools.tracker.finish(run.tracking_id, failed=True)
    except ModelyardError as also:
        log.warning("run %s failed, which could not be written down: %s", run.id, also.seen)


def _ended(error: BaseException, go_on: str) -> tuple[RunState, str]:
    if isinstance(error, Pruned):
        return "pruned", str(error)
    if isinstance(error, KeyboardInterrupt | Interrupted):
        return "interrupted", f"interrupted; go on: {go_on}"
    return "failed", str(error)


def _recorded(tools: Tools, run_id: str) -> Run | None:
    try:
        return tools.records.runs.get(run_id)
    except NotFound:
        return None


def begin(
    tools: Tools,
    run_id: str,
    name: str,
    recipe: Recipe,
    dataset: Dataset,
    terms: TrainingTerms,
    *,
    reproduces: str = "",
    parent: str = "",
    sweep: Mapping[str, Any] | None = None,
) -> Run:
    """Write down that a run begins, with its lineage. What attempts before this one used stays with it."""
    before = _recorded(tools, run_id)
    folder = tools.base_folder(recipe.base)
    base = describe_base(folder, Path(recipe.base).name)
    recipe = recipe.for_base(num_parameters(folder))
    lineage = capture_lineage(
        tools.root, dataset_digest=dataset.digest, base=base, seed=recipe.seed, threads=recipe.threads
    )
    settings = recipe.model_dump(mode="json")
    tracking_id = tools.tracker.start(run_id, name, settings, _tags(dataset, parent))
    tools.tracker.log_dataset(tracking_id, dataset.name, dataset.digest, dataset.sources[0].path)
    run = Run(
        id=run_id,
        name=name,
        state="running",
        owner=tools.owner,
        recipe=settings,
        recipe_digest=recipe.digest,
        lineage=lineage,
        started_ms=now_ms(),
        tracking_id=tracking_id,
        nanousd_per_hour=terms.nanousd_per_hour,
        pricing=terms.pricing,
        project=tools.project,
        reproduces=before.reproduces if before else reproduces,
        device_seconds=before.device_seconds if before else 0.0,
        cost_nanousd=before.cost_nanousd if before else 0,
        train_seconds=before.train_seconds if before else 0.0,
        metrics={name: value for name, value in before.metrics.items() if name == ENERGY} if before else {},
        parent=parent,
        sweep=dict(sweep or {}),
    )
    tools.records.runs.put(run)
    return run


def _tags(dataset: Dataset, parent: str) -> dict[str, str]:
    return {"modelyard.dataset": dataset.ref, **({"modelyard.parent": parent} if parent else {})}


def forget_checkpoints(tools: Tools, run_id: str) -> None:
    """Remove the checkpoints of a run that nobody goes on with."""
    shutil.rmtree(_checkpoints(tools, run_id), ignore_errors=True)


def _checkpoints(tools: Tools, run_id: str) -> Path:
    """Where a run keeps its checkpoints until it has finished."""
    return tools.state / "checkpoints" / run_id


def write_spec(
    tools: Tools, folder: Path, run_id: str, recipe: Recipe, dataset: Dataset, terms: TrainingTerms
) -> TrainingSpec:
    """Write a dataset's rows into a folder, and say what is to be done with them there."""
    for split in ("train", "validation"):
        write_examples(folder / split, examples_of(tools, dataset, split))
    return TrainingSpec(
        recipe=recipe.model_dump(mode="json"),
        base_folder=str(tools.base_folder(recipe.base).resolve()),
        train=str(folder / "train"),
        validation=str(folder / "validation"),
        output=str(folder / "output"),
        engine=terms.engine,
        checkpoints=str(_checkpoints(tools, run_id)),
        sharding=terms.sharding,
    )


def _train(
    tools: Tools,
    folder: Path,
    watch: Watch,
    recipe: Recipe,
    dataset: Dataset,
    terms: TrainingTerms,
    listen: Listener,
) -> TrainingResult:
    run = watch.run
    spec = write_spec(tools, folder, run.id, recipe, dataset, terms)
    identity = {"dataset": dataset.digest, "base": run.lineage.base_digest}
    spec = msgspec.structs.replace(spec, recipe=run.recipe, identity=identity)
    (folder / "spec.json").write_bytes(msgspec.json.encode(spec))

    def hear(event: Mapping[str, Any]) -> None:
        watch.hear(event)
        listen(event)

    command = [sys.executable, "-m", "modelyard.training.worker", str(folder / "spec.json")]
    try:
        with watch.metering():
            tools.compute.run(command, env={}, progress=hear)
    except JobFailed:
        if watch.failure:
            raise watch.failure from None
        raise
    return read_result(folder / "output")


def _finished(run: Run, result: TrainingResult, artifacts: dict[str, str]) -> Run:
    return msgspec.structs.replace(
        run,
        state="finished",
        finished_ms=now_ms(),
        train_seconds=result.metrics["train_seconds"],
        metrics=run.metrics | result.metrics,
        artifacts=artifacts,
    )


def _tell(tools: Tools, run: Run, dataset: Dataset, folder: Path, trained: Path) -> None:
    """Show a run's metrics, its card and what was trained in the tracker, and end it there; it may be away."""
    (folder / "card").mkdir()
    (folder / "card" / "README.md").write_text(run_card(run, dataset))
    with Troubles().around("the tracker"):
        tools.tracker.log_metrics(run.tracking_id, run.metrics, int(run.metrics.get("steps", 0)))
        tools.tracker.log_folder(run.tracking_id, trained, trained.name)
        tools.tracker.log_folder(run.tracking_id, folder / "card", "model_card")
        tools.tracker.finish(run.tracking_id)
