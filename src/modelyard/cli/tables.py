"""How each noun looks to a person in a terminal."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from modelyard.cli.output import say, table, when
from modelyard.core.digests import short
from modelyard.core.money import format_usd
from modelyard.ports.dataset import Dataset
from modelyard.ports.release import Release
from modelyard.ports.report import Metric, Report
from modelyard.ports.rollout import Rollout
from modelyard.ports.run import Run
from modelyard.ports.verdict import Verdict

if TYPE_CHECKING:
    from modelyard.datasets.report.terminal import Section
    from modelyard.registry.lineage import Trace
    from modelyard.workflows.collection import Survey

_MAX_SOURCES = 10


def dataset_text(dataset: Dataset, *, verbose: bool = False) -> None:
    """A dataset: rows by split, sources, and what each step dropped; `verbose` adds ten dropped rows of each step."""
    from modelyard.datasets.report.terminal import example_sections, passed_over_sections, steps_section

    say(f"{dataset.ref}  {', '.join(f'{rows:,} {split}' for split, rows in dataset.rows.items())}")
    for source in dataset.sources[:_MAX_SOURCES]:
        say(f"  from {source.title} ({source.num_bytes:,} bytes, {short(source.digest)})")
    if len(dataset.sources) > _MAX_SOURCES:
        say(f"  and {len(dataset.sources) - _MAX_SOURCES:,} more")
    examples = example_sections(dataset.steps) if verbose else ()
    sections_text([steps_section(dataset.steps), *passed_over_sections(dataset.steps), *examples])


def survey_text(survey: "Survey") -> None:
    """What would be collected from production, and what would be passed over, with what can be done about it."""
    from modelyard.datasets.collection.reasons import FIXES

    window = survey.window
    say(f"The service '{window.service}' from {when(window.since_ms)} to {when(window.until_ms)} UTC")
    say(f"  collected: {window.num_interactions:,} interactions, about {survey.num_bytes:,} bytes")
    lines = [(reason, f"{count:,}", FIXES.get(reason, "")) for reason, count in survey.passed_over.items()]
    table(("passed over", "", "to take them"), lines, empty="  Nothing is passed over.")


def sections_text(sections: Iterable["Section"]) -> None:
    """Parts of a report, one below the other."""
    for section in sections:
        say(section.title)
        if section.lines:
            table(section.headings, section.lines, empty="")
        elif section.empty:
            say(f"  {section.empty}")


def run_text(run: Run, state: str) -> None:
    """A run: what it made, from what, at what cost. `state` is the one that is true now."""
    say(f"{run.name}  {state}  {run.id}")
    lineage = run.lineage
    facts = {
        "dataset": short(lineage.dataset_digest),
        "base": f"{lineage.base_name} {short(lineage.base_digest)}",
        "recipe": short(run.recipe_digest),
        "commit": (lineage.commit[:12] or "none") + (" with changes" if lineage.dirty_digest else ""),
        "training": f"{run.train_seconds:.1f} s, {format_usd(run.cost_nanousd)}",
        **{name: f"{value:.4g}" for name, value in run.metrics.items()},
        **{name: short(digest) for name, digest in run.artifacts.items()},
    }
    table(("", ""), list(facts.items()), empty="")
    if run.error:
        say(run.error)


def metric_text(metric: Metric) -> str:
    """`93.1% (90.7 to 94.9, 582 rows)` for shares, plain numbers for the rest."""
    if 0 <= metric.low <= metric.high <= 1:
        return f"{metric.value:.1%} ({metric.low:.1%} to {metric.high:.1%}, {metric.num_rows} rows)"
    return f"{metric.value:.1f} ({metric.low:.1f} to {metric.high:.1f}, {metric.num_rows} rows)"


def report_text(release: Release, report: Report) -> None:
    """A report: every metric with its interval, and the weakest slices."""
    say(f"{release.ref} on {report.suite}: {report.seconds:.1f} s through {report.engine}")
    table(("metric", ""), [(name, metric_text(one)) for name, one in report.metrics.items()], empty="")
    weakest = sorted(report.slices.items(), key=lambda item: item[1].value)[:5]
    table(("weakest slices", ""), [(name, metric_text(one)) for name, one in weakest], empty="")


def verdict_text(release: Release, verdict: Verdict) -> None:
    """A verdict, check by check."""
    say(f"{release.ref}: {'passed' if verdict.passed else 'blocked'} by the policy '{verdict.policy}' ({verdict.id})")
    lines = [("yes" if one.passed else "NO", one.name, one.seen, one.demanded) for one in verdict.checks]
    table(("passed", "check", "seen", "demanded"), lines, empty="")


def release_text(facts: Mapping[str, Any]) -> None:
    """A release: what it is made of, how it moved, what was found."""
    release: Release = facts["release"]
    say(f"{release.ref}  {facts['stage']}")
    parts = {
        "base": f"{release.base.name} {short(release.base.digest)}",
        "adapter": short(release.adapter) or "none",
        "template": short(release.template_digest),
        "tokenizer": short(release.tokenizer_digest),
        "prompt": release.system_prompt or "none",
        "run": release.run_id or "none",
    }
    table(("", ""), list(parts.items()), empty="")
    moves = [(when(one.at_ms), f"{one.from_stage} to {one.to_stage}", one.actor, one.reason) for one in facts["moves"]]
    table(("when", "move", "who", "why"), moves, empty="It has not moved yet.")
    for report in facts["reports"]:
        report_text(release, report)
    for verdict in facts["verdicts"]:
        verdict_text(release, verdict)
        said = [one for one in facts["approvals"] if one.verdict_id == verdict.id]
        people = [(when(one.at_ms), one.decision, one.person, one.reason) for one in said]
        table(("when", "decision", "who", "why"), people, empty="")


def rollout_text(rollout: Rollout, refs: Mapping[str, str]) -> None:
    """A rollout: the two releases, the steps, and every event."""
    champion = refs.get(rollout.champion, "none") if rollout.champion else "none"
    say(f"{rollout.id}  {rollout.service}: {rollout.state}")
    say(f"  champion {champion}, challenger {refs.get(rollout.challenger, short(rollout.challenger))}")
    steps = [
        (">" if number == rollout.step and rollout.state == "running" else "", one.kind, f"{one.weight_bp / 100:g}%",
         str(one.min_samples))
        for number, one in enumerate(rollout.plan.steps)
    ]  # fmt: skip
    table(("", "step", "weight", "answers needed"), steps, empty="")
    events = [
        (when(one.at_ms), one.kind, str(one.step + 1), one.by, one.reason,
         ", ".join(f"{name} {value:.3g}" for name, value in one.evidence.items()))
        for one in rollout.events
    ]  # fmt: skip
    table(("when", "event", "step", "who", "why", "evidence"), events, empty="")


def trace_text(trace: "Trace") -> None:
    """A lineage, one link a line, indented as it goes back."""
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    def grow(tree: Tree, link: Any) -> None:
        branch = tree.add(Text(f"{link.title}  {link.missing}".rstrip()))
        for name, value in link.facts.items():
            branch.add(Text.assemble((f"{name} ", "dim"), short(value) if value.startswith("sha256:") else value))
        for inner in link.links:
            grow(branch, inner)

    root = Tree(f"answer {trace.answer_id}")
    for link in trace.links:
        grow(root, link)
    Console().print(root, soft_wrap=True)
