"""Reproduction: a run trained again from what is written down of it, and held against what it was."""

from pathlib import Path

import msgspec

from modelyard.core.errors import Conflict, Corrupt, ModelyardError, NotFound, RecipeInvalid
from modelyard.core.ids import new_id
from modelyard.ports.run import Lineage, Run
from modelyard.training.comparison import (
    Compared,
    Difference,
    Tolerances,
    Verdict,
    compare_curves,
    compare_metrics,
    compare_origins,
    compare_weights,
    likely_cause,
    same_weights,
    worst,
)
from modelyard.training.lineage import capture_lineage, describe_base
from modelyard.training.recipe import Recipe
from modelyard.training.spec import ADAPTER, CURVE, MODEL, Curve
from modelyard.workflows.runs import train_run
from modelyard.workflows.tools import Progress, Tools, silent
from modelyard.workflows.watching import TrainingTerms

_WORST_TENSORS = 10


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a run can be trained again here: `missing` says what that lacks, `differences` what is not as it was."""

    run: str
    missing: tuple[str, ...]
    differences: tuple[Difference, ...]

    @property
    def is_possible(self) -> bool:
        """Whether everything that the run was made from is here."""
        return not self.missing


class Reproduction(msgspec.Struct, frozen=True, kw_only=True):
    """A run held against another one. `weights` are the tensors that differ most; `num_tensors` counts all."""

    run: str
    again: str
    verdict: Verdict
    weights_verdict: Verdict
    tolerances: Tolerances
    differences: tuple[Difference, ...]
    metrics: tuple[Compared, ...]
    weights: tuple[Compared, ...]
    num_tensors: int
    cause: str


def check_run(tools: Tools, run: Run) -> Check:
    """Look at what a run was made from, and at where it would be trained now. Trains nothing.

    Raises: Conflict where the run has not finished.
    """
    _require_finished(run)
    missing = [*_lost_data(tools, run), *_other_base(tools, run)]
    try:
        recipe = Recipe.model_validate(run.recipe)
    except ValueError as error:
        return Check(run=run.id, missing=(*missing, f"the recipe is not valid any more: {error}"), differences=())
    now = _lineage_now(tools, run, recipe)
    found = compare_origins(run.lineage, now, (run.recipe, recipe.model_dump(mode="json")))
    return Check(run=run.id, missing=tuple(missing), differences=tuple(found))


def reproduce_run(
    tools: Tools, run: Run, terms: TrainingTerms, tolerances: Tolerances, progress: Progress = silent
) -> Reproduction:
    """Train a run again, under a new id that is linked to it, and compare.

    Raises: Conflict where the run has not finished, or where what it was made from is not here any more.
    """
    check = check_run(tools, run)
    if not check.is_possible:
        raise Conflict(
            f"the run {run.id} cannot be trained again: {'; '.join(check.missing)}",
            expected="its dataset, base and recipe as they were",
            fix="bring back what is named; `modelyard reproduce --check-only` looks again",
        )
    recipe = Recipe.model_validate(run.recipe)
    dataset = tools.records.datasets.get(run.lineage.dataset_digest)
    again = train_run(tools, new_id(), run.name, recipe, dataset, terms, progress, reproduces=run.id)
    return compare_runs(tools, run, again, tolerances)


def compare_runs(tools: Tools, first: Run, second: Run, tolerances: Tolerances) -> Reproduction:
    """Hold two finished runs against each other: weights bit by bit first, then within tolerances.

    Raises: Conflict where one has not finished; NotFound, Corrupt where its weights are lost.
    """
    for run in (first, second):
        _require_finished(run)
    differences = compare_origins(first.lineage, second.lineage, (first.recipe, second.recipe))
    metrics = compare_metrics(first.metrics, second.metrics, tolerances.losses)
    curves = [_curve(tools, run) for run in (first, second)]
    if curves[0] and curves[1]:
        metrics = [*compare_curves(curves[0], curves[1], tolerances.losses), *metrics]
    weights = _compare_weights(tools, first, second, tolerances)
    verdict = worst([*metrics, *weights])
    apart = sorted((one for one in weights if one.verdict != "identical"), key=_how_bad)
    return Reproduction(
        run=first.id,
        again=second.id,
        verdict=verdict,
        weights_verdict=worst(weights),
        tolerances=tolerances,
        differences=tuple(differences),
        metrics=tuple(metrics),
        weights=tuple(apart[:_WORST_TENSORS]),
        num_tensors=len(weights),
        cause="" if verdict == "identical" else likely_cause(differences),
    )


def _how_bad(compared: Compared) -> tuple[bool, float]:
    return compared.verdict != "differs", -compared.max_relative


def _require_finished(run: Run) -> None:
    if run.state != "finished":
        raise Conflict(
            f"the run {run.id} is {run.state}",
            expected="a finished run",
            fix="wait until it has finished" if run.state == "running" else f"modelyard run resume {run.id}",
        )


def _lost_data(tools: Tools, run: Run) -> list[str]:
    """What is wrong with the run's dataset; nothing where every byte of it is there."""
    digest = run.lineage.dataset_digest
    try:
        tools.blobs.get_folder(tools.records.datasets.get(digest).blob)
    except (NotFound, Corrupt) as error:
        return [f"the dataset {digest}: {error.seen}"]
    return []


def _other_base(tools: Tools, run: Run) -> list[str]:
    """What is wrong with the run's base; nothing where it is the one that the run began with."""
    try:
        base = describe_base(tools.base_folder(str(run.recipe["base"])), run.lineage.base_name)
    except (NotFound, RecipeInvalid) as error:
        return [error.seen]
    if base.ref.digest != run.lineage.base_digest:
        return [f"the base '{run.lineage.base_name}' is another one: {base.ref.digest}, then {run.lineage.base_digest}"]
    return []


def _lineage_now(tools: Tools, run: Run, recipe: Recipe) -> Lineage:
    """What a run that began now would be made from, with the data and the seed of another."""
    then = run.lineage
    try:
        base = describe_base(tools.base_folder(recipe.base), Path(recipe.base).name)
    except ModelyardError:
        return then
    return capture_lineage(
        tools.root, dataset_digest=then.dataset_digest, base=base, seed=recipe.seed, threads=recipe.threads
    )


def _curve(tools: Tools, run: Run) -> Curve | None:
    """The losses of a run; None for runs from before they were kept."""
    digest = run.artifacts.get(CURVE)
    return msgspec.json.decode(tools.blobs.get_bytes(digest), type=Curve) if digest else None


def _compare_weights(tools: Tools, first: Run, second: Run, tolerances: Tolerances) -> list[Compared]:
    ours, theirs = _weights_of(first), _weights_of(second)
    if ours[0] != theirs[0]:
        return [Compared(name="weights", verdict="differs", note=f"one made an {ours[0]}, the other a {theirs[0]}")]
    folder = tools.blobs.get_folder(ours[1])
    if ours == theirs:
        return same_weights(folder)
    found = compare_weights(folder, tools.blobs.get_folder(theirs[1]), tolerances.weights)
    return found or [Compared(name="weights", verdict="differs", note="other files, and no tensors in them")]


def _weights_of(run: Run) -> tuple[str, str]:
    for name in (ADAPTER, MODEL):
        if name in run.artifacts:
            return name, run.artifacts[name]
    raise NotFound(f"the run {run.id} has no weights", expected=f"an artifact '{ADAPTER}' or '{MODEL}'")
