"""Verdicts: a release evaluated, checked for parity and judged by its service's policy; and what people say to it."""

import asyncio
from typing import Literal

from modelyard.core.clock import now_ms
from modelyard.core.errors import NotFound
from modelyard.core.ids import new_id
from modelyard.evaluation.parity import Parity, Tokenize, check_parity
from modelyard.evaluation.suite import Suite
from modelyard.ports.dataset import Example, Message
from modelyard.ports.engine import Connect
from modelyard.ports.release import Release
from modelyard.ports.report import Report
from modelyard.ports.verdict import Approval, Verdict
from modelyard.project.model import Project
from modelyard.registry.gates import judge
from modelyard.workflows.datasets import examples_of
from modelyard.workflows.engines import load_release
from modelyard.workflows.releases import policy_of
from modelyard.workflows.reports import evaluate_release, suite_dataset
from modelyard.workflows.routes import champion_of
from modelyard.workflows.tools import Progress, Tools, said, silent

Decision = Literal["approve", "reject", "override"]
_PARITY_ROWS = 50


def gate_release(
    tools: Tools,
    project: Project,
    service: str,
    connect: Connect,
    release: Release,
    tokenize: Tokenize,
    progress: Progress = silent,
) -> Verdict:
    """Evaluate a release on the service's suite, check its parity, judge it against policy and champion; record it.

    `tokenize` is the training side's, for the release's base.
    """
    config = project.services[service]
    suite = project.suites[config.suite]
    report = evaluate_release(tools, connect, release, config.suite, suite, progress)
    examples = examples_of(tools, suite_dataset(tools, suite), suite.split)[:_PARITY_ROWS]
    parity = asyncio.run(_check_parity(tools, connect, release, tokenize, examples))
    verdict = judge(
        policy_of(project, service),
        release,
        [report],
        _champion_reports(tools, service, connect, release, report, suite, progress),
        parity.passed,
    )
    tools.records.verdicts.add(verdict)
    return verdict


def decide(tools: Tools, release: Release, decision: Decision, reason: str) -> Approval:
    """Write down what a person says to the newest verdict on a release. Raises: NotFound where there is none."""
    verdicts = tools.records.verdicts.newest(release.digest)
    if not verdicts:
        raise NotFound(f"{release.ref} has no verdict yet", fix="judge it first: modelyard release gate")
    approval = Approval(
        id=new_id(),
        verdict_id=verdicts[0].id,
        person=tools.actor,
        decision=decision,
        reason=said("the reason", reason),
        at_ms=now_ms(),
    )
    tools.records.verdicts.approve(approval)
    return approval


def _champion_reports(
    tools: Tools, service: str, connect: Connect, release: Release, report: Report, suite: Suite, progress: Progress
) -> list[Report] | None:
    """The champion's newest report of the same exam, None without a champion. It sits the exam now if it never did."""
    champion = champion_of(tools.records, service)
    if not champion or champion == release.digest:
        return None
    exam = (report.suite_digest, report.dataset_digest, report.split)
    for one in tools.records.reports.newest(champion):
        if (one.suite_digest, one.dataset_digest, one.split) == exam:
            return [one]
    found = tools.records.releases.get(champion)
    return [evaluate_release(tools, connect, found, report.suite, suite, progress)]


async def _check_parity(
    tools: Tools, connect: Connect, release: Release, tokenize: Tokenize, examples: list[Example]
) -> Parity:
    system = (Message(role="system", content=release.system_prompt),) if release.system_prompt else ()
    conversations = [(*system, *example.prompt) for example in examples]
    engine = connect()
    try:
        await load_release(tools, engine, release)
        return await check_parity(engine, release.engine_model, release.base.name, tokenize, conversations)
    finally:
        await engine.close()
