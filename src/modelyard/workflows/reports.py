"""A Release and a Suite in, a recorded Report out."""

import asyncio

from modelyard.evaluation import baselines
from modelyard.evaluation.evaluation import Evaluation, evaluate
from modelyard.evaluation.report import build_report, rows_jsonl
from modelyard.evaluation.suite import Suite
from modelyard.ports.dataset import Dataset, Example
from modelyard.ports.engine import Connect
from modelyard.ports.release import Release
from modelyard.ports.report import Metric, Report
from modelyard.workflows.datasets import examples_of
from modelyard.workflows.engines import load_release
from modelyard.workflows.tools import Progress, Tools, silent


def suite_dataset(tools: Tools, suite: Suite) -> Dataset:
    """The dataset that a suite measures on. Raises: NotFound where it was not prepared."""
    return tools.records.datasets.find(suite.dataset)


def evaluate_release(
    tools: Tools, connect: Connect, release: Release, name: str, suite: Suite, progress: Progress = silent
) -> Report:
    """Answer a suite through the engine that will serve the release, and record the report with every row."""
    dataset = suite_dataset(tools, suite)
    examples = examples_of(tools, dataset, suite.split)
    evaluation, engine_name = asyncio.run(_evaluate(tools, connect, release, examples, suite, progress))
    report = build_report(
        evaluation,
        release=release,
        suite_name=name,
        suite=suite,
        dataset_digest=dataset.digest,
        engine_name=engine_name,
        rows_digest=tools.blobs.put_bytes(rows_jsonl(evaluation.rows)),
    )
    tools.records.reports.add(report)
    return report


def majority_baseline(tools: Tools, suite: Suite) -> Metric:
    """What always giving the commonest answer of the train split scores on a suite."""
    dataset = suite_dataset(tools, suite)
    learnt = (example.answer for example in examples_of(tools, dataset, "train"))
    expected = [example.answer for example in examples_of(tools, dataset, suite.split)]
    return baselines.majority_baseline(learnt, expected, suite)


async def _evaluate(
    tools: Tools, connect: Connect, release: Release, examples: list[Example], suite: Suite, progress: Progress
) -> tuple[Evaluation, str]:
    engine = connect()
    try:
        await load_release(tools, engine, release)
        evaluation = await evaluate(engine, release, release.engine_model, examples, suite, progress=progress)
    finally:
        await engine.close()
    return evaluation, engine.capabilities.name
