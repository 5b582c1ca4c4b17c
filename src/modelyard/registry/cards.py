"""Model cards: what a release is, where it comes from, what it can and cannot do; in Markdown, for people and hubs."""

import io
from collections.abc import Iterable, Sequence
from typing import Any

from ruamel.yaml import YAML

from modelyard.core.clock import iso
from modelyard.core.errors import NotFound
from modelyard.core.money import format_usd
from modelyard.ports.dataset import Dataset
from modelyard.ports.records import Records
from modelyard.ports.release import Release
from modelyard.ports.report import Metric, Report
from modelyard.ports.run import Run
from modelyard.ports.verdict import Approval, Verdict
from modelyard.registry.gates import newest_each

_WORST_SLICES = 10


def render_card(records: Records, release: Release) -> str:
    """The card of a release from what is recorded now: its run and dataset, its last reports and its last verdict."""
    run = _run_of(records, release)
    verdicts = records.verdicts.newest(release.digest)
    return model_card(
        release,
        run=run,
        dataset=_dataset_of(records, run),
        reports=newest_each(records.reports.newest(release.digest)),
        verdict=verdicts[0] if verdicts else None,
        approvals=records.verdicts.approvals(verdicts[0].id) if verdicts else (),
    )


def model_card(
    release: Release,
    *,
    run: Run | None,
    dataset: Dataset | None,
    reports: Sequence[Report],
    verdict: Verdict | None,
    approvals: Sequence[Approval] = (),
) -> str:
    """The card of a release: YAML front matter as the Hugging Face hub reads it, then the text.

    What is not recorded is said to be so, section by section. Source: Mitchell et al. (2019), "Model Cards for Model
    Reporting"; huggingface.co/docs/hub/model-cards for the front matter.
    """
    sections = {
        "Intended use": _intended_use(release, dataset),
        "Base model": _base(release),
        "Training data": _data(dataset),
        "Recipe": _recipe(run),
        "Results": _results(reports),
        "Gate": _gate(verdict, approvals),
        "Limits": _limits(release, dataset, reports, verdict),
        "Lineage": _lineage(release, run, dataset),
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    return f"---\n{_front_matter(release, dataset, reports)}---\n\n# {release.ref}\n\n{body}\n"


def run_card(run: Run, dataset: Dataset | None) -> str:
    """The card of what a run made, before any release: its base, data, recipe, metrics and lineage, in Markdown."""
    base = [("Name", run.lineage.base_name), ("Digest", _code(run.lineage.base_digest))]
    sections = {
        "Base model": _table(("", ""), base),
        "Training data": _data(dataset),
        "Recipe": _recipe(run),
        "Metrics": _table(("metric", "value"), [(name, f"{value:.6g}") for name, value in run.metrics.items()]),
        "Limits": "Nothing of it was evaluated or approved yet: a release's card tells of that.",
        "Lineage": _table(("", ""), _origins(run, dataset)),
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    return f"# {run.name}\n\n{body}\n"


def _run_of(records: Records, release: Release) -> Run | None:
    try:
        return records.runs.get(release.run_id) if release.run_id else None
    except NotFound:
        return None


def _dataset_of(records: Records, run: Run | None) -> Dataset | None:
    try:
        return records.datasets.get(run.lineage.dataset_digest) if run else None
    except NotFound:
        return None


def _front_matter(release: Release, dataset: Dataset | None, reports: Sequence[Report]) -> str:
    fields: dict[str, Any] = {
        "base_model": release.base.name,
        "library_name": "peft" if release.adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["modelyard", *(["lora"] if release.adapter else [])],
    }
    if dataset:
        fields["datasets"] = [dataset.name]
    results = [
        {
            "task": {"type": "text-generation"},
            "dataset": {"type": report.suite, "name": report.suite, "split": report.split},
            "metrics": [{"type": name, "value": metric.value} for name, metric in report.metrics.items()],
        }
        for report in reports
        if report.metrics
    ]
    if results:
        fields["model-index"] = [{"name": release.ref, "results": results}]
    stream = io.StringIO()
    yaml = YAML()
    yaml.width = 4096
    yaml.dump(fields, stream)
    return stream.getvalue()


def _intended_use(release: Release, dataset: Dataset | None) -> str:
    like = f" that are like those of the dataset `{dataset.ref}`" if dataset else ""
    return f"Answering requests{like}. Nobody wrote down more than that: ask before using it for anything else."


def _base(release: Release) -> str:
    lines = [
        ("Name", release.base.name),
        ("Digest", _code(release.base.digest)),
        ("Quantization", release.quantization or "none"),
        ("Tokenizer", _code(release.tokenizer_digest)),
        ("Chat template", _code(release.template_digest)),
        ("Sampling by default", _sampling(release)),
    ]
    if release.system_prompt:
        lines.append(("System prompt", _code(release.system_prompt)))
    return _table(("", ""), lines)


def _data(dataset: Dataset | None) -> str:
    if dataset is None:
        return "Not recorded."
    counts = _table(("split", "rows"), [(split, f"{rows:,}") for split, rows in dataset.rows.items()])
    sources = _table(
        ("raw file", "bytes", "digest"),
        [(source.title, f"{source.num_bytes:,}", _code(source.digest)) for source in dataset.sources],
    )
    steps = _table(
        ("step", "rows in", "rows out", "dropped"),
        [[step.get(key, "") for key in ("step", "rows_in", "rows_out", "dropped")] for step in dataset.steps],
    )
    return "\n\n".join(part for part in (f"`{dataset.ref}`, {_code(dataset.digest)}", counts, sources, steps) if part)


def _recipe(run: Run | None) -> str:
    if run is None:
        return "Not recorded: no run made this release."
    cost = f"{run.train_seconds:.1f} s of training, {format_usd(run.cost_nanousd)}"
    return f"{cost}, seed {run.lineage.seed}.\n\n" + _table(("setting", "value"), run.recipe.items())


def _results(reports: Sequence[Report]) -> str:
    if not reports:
        return "Not evaluated."
    rows = [
        (f"{report.suite}/{report.split}", name, f"{metric.value:.4g}", _interval(metric), f"{metric.num_rows:,}")
        for report in reports
        for name, metric in report.metrics.items()
    ]
    engines = ", ".join(sorted({report.engine for report in reports}))
    heading = ("suite", "metric", "value", "95% interval", "rows")
    return f"Measured through the engine that serves it ({engines}).\n\n{_table(heading, rows)}"


def _gate(verdict: Verdict | None, approvals: Sequence[Approval]) -> str:
    if verdict is None:
        return "Not judged."
    outcome = "passed" if verdict.passed else "**did not pass**"
    rows = [(check.name, check.seen, check.demanded, "yes" if check.passed else "NO") for check in verdict.checks]
    table = _table(("check", "seen", "demanded", "passed"), rows)
    said = [(iso(one.at_ms), one.decision, one.person, one.reason) for one in approvals]
    people = _table(("when", "decision", "by", "reason"), said) or "Nobody approved, rejected or overrode it."
    return f"It {outcome} the policy `{verdict.policy}` ({iso(verdict.created_ms)}).\n\n{table}\n\n{people}"


def _limits(release: Release, dataset: Dataset | None, reports: Sequence[Report], verdict: Verdict | None) -> str:
    limits = ["It was measured only on the suites above; elsewhere nothing is known of it."]
    if verdict is not None and not verdict.passed:
        limits.append("Its gate said no: it may not go into production.")
    if dataset is None and release.adapter:
        limits.append("What it was trained on is not recorded.")
    if not reports:
        limits.append("It was never evaluated.")
    text = "\n".join(f"- {limit}" for limit in limits)
    worst = _worst_slices(reports)
    return f"{text}\n\nWhere it is weakest:\n\n{worst}" if worst else text


def _worst_slices(reports: Sequence[Report]) -> str:
    slices = [(metric, name) for report in reports for name, metric in report.slices.items()]
    weakest = sorted(slices, key=lambda item: item[0].value)[:_WORST_SLICES]
    rows = [(name, f"{metric.value:.4g}", _interval(metric), metric.num_rows) for metric, name in weakest]
    return _table(("slice", "value", "95% interval", "rows"), rows)


def _lineage(release: Release, run: Run | None, dataset: Dataset | None) -> str:
    rows = [("Release", _code(release.digest)), ("Adapter", _code(release.adapter) if release.adapter else "none")]
    if run is None:
        return _table(("", ""), [*rows, ("Run", release.run_id or "none")])
    return _table(("", ""), [*rows, *_origins(run, dataset)])


def _origins(run: Run, dataset: Dataset | None) -> list[tuple[str, str]]:
    lineage = run.lineage
    changes = " with uncommitted changes" if lineage.dirty_digest else ""
    return [
        ("Run", f"{run.id}, by {run.owner}"),
        ("Commit", f"{lineage.commit or 'none'}{changes}"),
        ("Recipe", _code(run.recipe_digest)),
        ("Dataset", _code(dataset.digest if dataset else lineage.dataset_digest)),
        ("Environment", _code(lineage.environment_digest)),
    ]


def _sampling(release: Release) -> str:
    sampling = release.sampling
    return f"temperature {sampling.temperature:g}, top-p {sampling.top_p:g}, at most {sampling.max_tokens} tokens"


def _interval(metric: Metric) -> str:
    return f"{metric.low:.4g} to {metric.high:.4g}"


def _table(heading: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table; empty where there are no rows."""
    lines = [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(heading)} |", f"|{'---|' * len(heading)}", *lines])


def _cell(value: object) -> str:
    """Text that cannot break out of its table cell."""
    return " ".join(str(value).split()).replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{' '.join(text.split()).replace('`', chr(39))}`"
