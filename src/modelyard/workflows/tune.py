"""Tune: a candidate release for a service, from its raw data to its verdict, in durable steps."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from modelyard.core.ids import new_id
from modelyard.evaluation.parity import Tokenize
from modelyard.ports.engine import Connect
from modelyard.ports.release import ModelRef, Release
from modelyard.project.model import Project
from modelyard.workflows.datasets import prepare_dataset
from modelyard.workflows.durable import Step, run_durably
from modelyard.workflows.releases import release_of_run
from modelyard.workflows.runs import TrainingTerms, train_run
from modelyard.workflows.tools import Progress, Tools, silent
from modelyard.workflows.verdicts import gate_release

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

    Goes on where an earlier call for the same service was interrupted.
    """
    config = project.services[service]

    def body(step: Step) -> list[str]:
        dataset = step(
            "prepare", lambda: prepare_dataset(tools, config.dataset, project.datasets[config.dataset], progress).digest
        )
        run_id = step("name the run", new_id)
        step("train", lambda: _train(tools, project, service, run_id, dataset, terms, progress))
        release = step("release", lambda: release_of_run(tools, service, tools.records.runs.get(run_id)).digest)
        verdict = step("gate", lambda: _gate(tools, project, service, release, engine_for, tokenizer_of, progress))
        return [release, verdict]

    work = tools.state / "work"
    work_id = f"tune-{service}"
    release, verdict = run_durably(work, work_id, body)
    # The work is done and recorded; the next call shall begin anew.
    (work / f"{work_id}.db").unlink()
    return release, verdict


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
