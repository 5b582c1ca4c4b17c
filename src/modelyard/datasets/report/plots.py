"""Plots of a report as SVG. Colours come from the page's style sheet, so that they follow light and dark."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

_WIDTH = 640
_NAME = 215
_ROW = 24
_BAR = 14
_NUMBERS = 100
_SHORT_NAME = 33
_PLOT_HEIGHT = 120
_TICKS = 8


def waterfall(steps: Sequence[Mapping[str, Any]]) -> Markup:
    """Rows behind each step, and those it dropped, as one bar a step."""
    most = max((step["rows_in"] for step in steps), default=0)
    parts = []
    for number, step in enumerate(steps):
        kept, dropped = (_span(step[name], most) for name in ("rows_out", "dropped"))
        told = f"{step['step']}: {step['rows_in']:,} in, {step['dropped']:,} dropped, {step['rows_out']:,} out"
        number_text = f"{step['rows_out']:,}"
        parts += [
            _name(number, step["step"].replace("_", " ")),
            _rect("kept", _NAME, number, kept, told),
            _rect("lost", _NAME + kept, number, dropped, told),
            _number(number, _NAME + kept + dropped, number_text),
        ]
        if step["dropped"]:
            beside = _NAME + kept + dropped + 8 + 7 * len(number_text)
            parts.append(_text("lost", beside, number, f"-{step['dropped']:,}"))
    return _svg(len(steps) * _ROW, parts, "Rows left behind each step")


def stacked_bars(rows: Sequence[tuple[str, Mapping[str, int]]], title: str) -> Markup:
    """A bar for each name, cut into its groups: the splits of a label."""
    most = max((sum(counts.values()) for _, counts in rows), default=0)
    parts = []
    for number, (name, counts) in enumerate(rows):
        told = f"{name}: {', '.join(f'{count:,} {group}' for group, count in counts.items())}"
        parts.append(_name(number, name))
        x: float = _NAME
        for group, count in counts.items():
            width = _span(count, most)
            parts.append(_rect(group, x, number, width, told))
            x += width
        parts.append(_number(number, x, f"{sum(counts.values()):,}"))
    return _svg(len(rows) * _ROW, parts, title)


def bars(rows: Sequence[tuple[str, int]], title: str, total: int) -> Markup:
    """A bar for each name, with its share of `total`."""
    most = max((count for _, count in rows), default=0)
    parts = []
    for number, (name, count) in enumerate(rows):
        width = _span(count, most)
        parts += [
            _name(number, name),
            _rect("kept", _NAME, number, width, f"{name}: {count:,} of {total:,}"),
            _number(number, _NAME + width, f"{count / total:.1%}"),
        ]
    return _svg(len(rows) * _ROW, parts, title)


def histogram(bins: Sequence[Mapping[str, Any]], title: str) -> Markup:
    """Rows by length. The bins double every two, so a step to the right is a factor, not a sum."""
    most = max((one["rows"] for one in bins), default=0)
    left, width = 50, (_WIDTH - 60) / max(len(bins), 1)
    every = -(-len(bins) // _TICKS)
    parts = [
        f'<text class="axis" x="{left - 6}" y="18" text-anchor="end">{most:,}</text>',
        f'<text class="axis" x="{left - 6}" y="{_PLOT_HEIGHT + 10}" text-anchor="end">0</text>',
        f'<line class="axis" x1="{left}" x2="{_WIDTH - 10}" y1="{_PLOT_HEIGHT + 10.5}" y2="{_PLOT_HEIGHT + 10.5}"/>',
    ]
    for number, one in enumerate(bins):
        x = left + number * width
        height = one["rows"] / most * _PLOT_HEIGHT if one["rows"] else 0.0
        end = f"below {one['to']:,}" if one["to"] is not None else "more"
        parts.append(
            f'<rect class="kept" x="{x:.1f}" y="{_PLOT_HEIGHT + 10 - height:.1f}" width="{max(width - 1.5, 1):.1f}" '
            f'height="{height:.1f}"><title>{one["from"]:,} to {end}: {one["rows"]:,} rows</title></rect>'
        )
        if number % every == 0:
            parts.append(f'<text class="axis" x="{x:.1f}" y="{_PLOT_HEIGHT + 26}">{one["from"]:,}</text>')
    return _svg(_PLOT_HEIGHT + 34, parts, title)


def _span(count: int, most: int) -> float:
    return count / most * (_WIDTH - _NAME - _NUMBERS) if most else 0.0


def _name(number: int, name: str) -> str:
    short = name if len(name) <= _SHORT_NAME else name[: _SHORT_NAME - 1] + "…"
    return f'<text x="{_NAME - 8}" y="{_middle(number)}" text-anchor="end">{escape(short)}</text>'


def _number(number: int, x: float, text: str) -> str:
    return _text("number", x + 6, number, text)


def _text(kind: str, x: float, number: int, text: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{_middle(number)}">{escape(text)}</text>'


def _rect(kind: str, x: float, number: int, width: float, told: str) -> str:
    y = number * _ROW + (_ROW - _BAR) / 2
    return (
        f'<rect class="{escape(kind)}" x="{x:.1f}" y="{y:g}" width="{width:.1f}" height="{_BAR}">'
        f"<title>{escape(told)}</title></rect>"
    )


def _middle(number: int) -> float:
    return number * _ROW + _ROW / 2 + 4


def _svg(height: float, parts: Sequence[str], title: str) -> Markup:
    body = "".join(parts)
    # Every part is made above of numbers and escaped words.
    return Markup(  # noqa: S704
        f'<svg viewBox="0 0 {_WIDTH} {height:g}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{body}</svg>"
    )
