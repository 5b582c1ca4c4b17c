"""A dry run: everything about a training run that can be known without training."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from modelyard.ports.dataset import Dataset
from modelyard.ports.run import Run
from modelyard.training import device
from modelyard.training.hardware import describe_hardware
from modelyard.training.material import gather
from modelyard.training.plan import Pace, Plan, make_plan, memory_is_enough
from modelyard.training.preflight import Finding, inspect
from modelyard.training.recipe import Recipe
from modelyard.training.sample import SampleRow, sample
from modelyard.workflows.expectations import demand_expectations
from modelyard.workflows.runs import write_spec
from modelyard.workflows.tools import Progress, Tools, silent
from modelyard.workflows.watching import TrainingTerms

_NUM_RUNS = 3


class DryRun(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, what training would take, and a few rows as they would be trained on."""

    dataset: str
    passed: bool
    findings: tuple[Finding, ...]
    plan: Plan
    sample: tuple[SampleRow, ...]


def dry_run(
    tools: Tools, recipe: Recipe, dataset: Dataset, terms: TrainingTerms, progress: Progress = silent
) -> DryRun:
    """Read, check and count what `train_run` would train on. Nothing is recorded, and no model is loaded.

    Raises: RecipeInvalid, DataInvalid, NotFound where there is nothing to check.
    """
    demand_expectations(tools, dataset)
    with tools.scratch() as folder:
        progress(0, 3, "reading rows")
        spec = write_spec(tools, folder, "dry-run", recipe, dataset, terms)
        material = gather(spec)
        progress(1, 3, "checking them")
        findings = inspect(material.inspection(spec))
        progress(2, 3, "counting")
        plan = make_plan(material, device.here(recipe), _pace(tools, recipe), terms.nanousd_per_hour)
        findings.append(memory_is_enough(plan))
    return DryRun(
        dataset=dataset.ref,
        passed=not any(finding.stops for finding in findings),
        findings=tuple(findings),
        plan=plan,
        sample=tuple(sample(material.rows, material.chat)),
    )


def _pace(tools: Tools, recipe: Recipe) -> Pace | None:
    """How fast the last runs of the same kind were on such a machine."""
    hardware = describe_hardware()
    alike = [run for run in tools.records.runs.newest() if _is_alike(run, recipe, hardware)][:_NUM_RUNS]
    seconds = sum(run.metrics["train_seconds"] for run in alike)
    if not seconds:
        return None
    tokens = sum(run.metrics["train_tokens"] for run in alike)
    return Pace(tokens_per_second=tokens / seconds, source=_spoken(alike))


def _is_alike(run: Run, recipe: Recipe, hardware: dict[str, object]) -> bool:
    """Whether a run tells how long another one takes: the same base, method, objective and device."""
    return (
        run.state == "finished"
        and run.metrics.get("train_seconds", 0) > 0
        and run.metrics.get("train_tokens", 0) > 0
        and run.lineage.base_name == Path(recipe.base).name
        and all(run.recipe.get(name) == getattr(recipe, name) for name in ("method", "objective"))
        and all(run.lineage.hardware.get(name) == hardware[name] for name in ("cpu", "cores", "gpus"))
    )


def _spoken(runs: Sequence[Run]) -> str:
    return f"the last {len(runs)} runs of this kind here" if len(runs) > 1 else f"the run {runs[0].id}"
