"""The demonstration's report: its figures as JSON, and a page with pictures for people."""

from pathlib import Path
from typing import Any

from modelyard import __version__
from modelyard.demo.pictures import bars, timeline

Facts = dict[str, Any]
_TEMPLATES = Path(__file__).parent / "templates"


def build_report(facts: Facts, *, finished: str) -> Facts:
    """The figures that matter first, then everything each stage told."""
    rollback = facts["rollback"]
    trials = [facts["launch"], facts["promote"], rollback]
    return {
        "base_exact_match": facts["base"]["exact_match"]["value"],
        "majority_exact_match": facts["base"]["majority_exact_match"]["value"],
        "first_exact_match": facts["gate_first"]["exact_match"]["value"],
        "adapter_exact_match": facts["gate_better"]["exact_match"]["value"],
        "bad_exact_match": facts["gate_bad"]["exact_match"]["value"],
        "train_seconds": facts["train_better"]["seconds"],
        "bad_release_blocked": not facts["gate_bad"]["passed"] and facts["blocked"]["refused"],
        "promoted": facts["promote"]["state"] == "promoted",
        "rolled_back": rollback["state"] == "rolled_back",
        "rollback_seconds": rollback["exposed_seconds"],
        "rollback_requests": rollback["exposed_requests"],
        "failed_requests": sum(trial["failed_requests"] for trial in trials),
        "answers": sum(trial["answers"] for trial in trials),
        "answer_id": facts["promote"]["example_answer"],
        "peak_memory_mb": max(stage["peak_memory_mb"] for stage in facts.values()),
        "finished": finished,
        "version": __version__,
        "stages": facts,
    }


def render_html(report: Facts) -> str:
    """The report as one page that needs nothing else."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    stages = report["stages"]
    scores = [
        ("always the commonest", stages["base"]["majority_exact_match"]),
        ("untuned base", stages["base"]["exact_match"]),
        ("first release", stages["gate_first"]["exact_match"]),
        ("better release", stages["gate_better"]["exact_match"]),
        ("bad release", stages["gate_bad"]["exact_match"]),
    ]
    return environment.get_template("report.html").render(
        report=report,
        stages=stages,
        scores=bars(scores),
        promote=timeline(stages["promote"]["timeline"]),
        rollback=timeline(stages["rollback"]["timeline"]),
    )
