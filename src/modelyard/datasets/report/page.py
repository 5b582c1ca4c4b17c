"""A report as one HTML page that needs nothing else: no network, no script."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.core.digests import short
from modelyard.datasets.report.plots import bars, histogram, stacked_bars, waterfall
from modelyard.datasets.report.reading import leaks

if TYPE_CHECKING:
    from markupsafe import Markup

_TEMPLATES = Path(__file__).parent / "templates"
_MAX_LABELS = 30
_MAX_LANGUAGES = 12
_LENGTHS = {
    "prompt": "Prompts, in characters",
    "answer": "Answers, in characters",
    "rejected": "Rejected answers, in characters",
    "tokens": "Rows, in tokens",
    "turns": "Conversations, in turns",
}


def render_page(report: Mapping[str, Any]) -> str:
    """The page. The same report gives the same page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["number"] = "{:,}".format
    environment.filters["percent"] = "{:.1%}".format
    environment.filters["bytes"] = _bytes
    environment.filters["short"] = short
    kept = sum(report["rows"].values())
    return environment.get_template("page.html").render(
        report=report,
        kept=kept,
        share=kept / report["rows_read"] if report["rows_read"] else 0.0,
        found=sum(report["personal_data"]["found"].values()),
        leaks=leaks(report),
        steps=waterfall(report["steps"]),
        labels=_labels(report["labels"]["rows"]),
        more_labels=max(len(report["labels"]["rows"]) - _MAX_LABELS, 0),
        lengths=_lengths(report["lengths"]),
        languages=_languages(report["languages"]),
    )


def _labels(rows: Mapping[str, Mapping[str, int]]) -> "Markup | str":
    shown: Sequence[tuple[str, Mapping[str, int]]] = list(rows.items())[:_MAX_LABELS]
    return stacked_bars(shown, "Rows by label and split") if shown else ""


def _lengths(lengths: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any], "Markup"]]:
    return [
        (_LENGTHS[part], counts, histogram(counts["bins"], _LENGTHS[part]))
        for part, counts in lengths.items()
        # A plot of one bar says no more than its number.
        if counts["rows"] and len(counts["bins"]) > 1
    ]


def _languages(languages: Mapping[str, Any]) -> "Markup | str":
    shown = list(languages["rows"].items())[:_MAX_LANGUAGES]
    return bars(shown, "Language mix of the sample", languages["sampled"]) if shown else ""


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"
