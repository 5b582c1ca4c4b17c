"""Tune: a candidate release for a service, from its raw data to its verdict, in durable steps."""

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from modelyard.core.digests import digest_json, short
from modelyard.core.errors import Conflict, DataInvalid
from modelyard.core.ids import new_id
from modelyard.core.locks import hold
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.sources.finding import find_sources
from modelyard.datasets.sources.opening import state_of
from modelyard.evaluation.parity import Tokenize
from modelyard.ports.engine import Connect
from modelyard.ports.release import ModelRef, Release
from modelyard.project.model import Project
from modelyard.training.lineage import describe_base
from modelyard.workflows.datasets import prepare_dataset
from modelyard.workflows.durable import Step, run_durably
from modelyard.workflows.releases import policy_of, release_of_run
from modelyard.workflows.runs import train_run
from modelyard.workflows.tools import Progress, Tools, silent
from modelyard.workflows.verdicts import gate_release
from modelyard.workflows.watching import TrainingTerms

EngineFor = Callable[[ModelRef], AbstractContextManager[Connect]]
TokenizerOf = Callable[[Release], Tokenize]


def tune_service(
    tools: Tools,
    project: Project,
    service: str,
    engine_for: EngineFor,
    tokenizer_of: TokenizerOf,
    terms: TrainingTerms,
    progress: Progress = silent,
) -> tuple[str, str]:
    """Prepare, train, gate; return the digest of the release and the id of its verdict.

    Goes on where an earlier call was interrupted or failed, as long as nothing that decides the outcome has changed
    since; else it begins anew.
    """
    config = project.services[service]

    def body(step: Step) -> list[str]:
        dataset = step("prepare", lambda: _prepare(tools, project, config.dataset, progress))
        run_id = step("name the run", new_id)
        step("train", lambda: _train(tools, project, service, run_id, dataset, terms, progress))
        release = step("release", lambda: release_of_run(tools, service, tools.records.runs.get(run_id)).digest)
        verdict = step("gate", lambda: _gate(tools, project, service, release, engine_for, tokenizer_of, progress))
        return [release, verdict]

    work = tools.state / "work"
    work_id = f"tune-{short(_digest_inputs(tools, project, service))}"
    release, verdict = run_durably(work, work_id, body)
    _forget(work, work_id)
    return release, verdict


def _prepare(tools: Tools, project: Project, name: str, progress: Progress) -> str:
    return prepare_dataset(tools, name, project.datasets[name], progress, suites=project.suites).digest


def _digest_inputs(tools: Tools, project: Project, service: str) -> str:
    """The digest of all that decides what becomes of tuning a service. Raises: NotFound, RecipeInvalid for the base."""
    config = project.services[service]
    recipe, suite = project.recipes[config.recipe], project.suites[config.suite]
    dataset = project.datasets[config.dataset]
    base = describe_base(tools.base_folder(recipe.base))
    return digest_json(
        {
            "service": service,
            "dataset": {"name": config.dataset, **dataset.model_dump(mode="json")},
            "files": _stamps(tools, dataset),
            "base": [base.ref.digest, base.tokenizer_digest, base.template_digest],
            "recipe": recipe.digest,
            "suite": [suite.digest, config.suite],
            "policy": policy_of(project, service).digest,
        }
    )


def _stamps(tools: Tools, dataset: DatasetConfig) -> list[tuple[Any, ...]]:
    """What changes when a raw file does; empty where one is missing, which its preparation will tell in words."""
    try:
        return [(source.name, *state_of(source.url, None)) for source in find_sources(dataset, tools.root)]
    except (DataInvalid, OSError):
        return []


def _forget(work: Path, work_id: str) -> None:
    """Remove finished work, so that the next call begins anew; unless another process has just taken it up.

    The store's side files go first: a journal that outlived its database would be played into the next one.
    """
    with suppress(Conflict, FileNotFoundError), hold(work / f"{work_id}.lock", f"{work_id} is being done"):
        for ending in ("-wal", "-shm", "-journal", ""):
            (work / f"{work_id}.db{ending}").unlink(missing_ok=True)
        (work / f"{work_id}.lock").unlink()


def _train(
    tools: Tools, project: Project, service: str, run_id: str, dataset: str, terms: TrainingTerms, progress: Progress
) -> None:
    name = project.services[service].recipe
    train_run(tools, run_id, name, project.recipes[name], tools.records.datasets.get(dataset), terms, progress)


def _gate(
    tools: Tools,
    project: Project,
    service: str,
    digest: str,
    engine_for: EngineFor,
    tokenizer_of: TokenizerOf,
    progress: Progress,
) -> str:
    release = tools.records.releases.get(digest)
    with engine_for(release.base) as connect:
        return gate_release(tools, project, service, connect, release, tokenizer_of(release), progress).id
