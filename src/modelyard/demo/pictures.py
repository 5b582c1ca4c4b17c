"""Pictures of the report, drawn as SVG: bars with intervals, and answers over time."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

_WIDTH = 640
_LABEL = 170
_ROW = 26
_HEIGHT = 150
_COLOURS = {"champion": "#2f6f9f", "challenger": "#d9822b", "shadow": "#9a9a9a"}


def bars(scores: Sequence[tuple[str, dict[str, Any]]]) -> Markup:
    """A bar for each share with its 95% interval. `scores` pairs a name with value, low and high in [0, 1]."""
    scale = _WIDTH - _LABEL - 60
    parts = []
    for number, (name, score) in enumerate(scores):
        y = number * _ROW
        low, high = (_LABEL + score[end] * scale for end in ("low", "high"))
        middle = y + _ROW / 2
        parts += [
            f'<text x="{_LABEL - 8}" y="{middle + 4}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{_LABEL}" y="{y + 5}" width="{score["value"] * scale:.1f}" height="{_ROW - 10}" rx="2"/>',
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"/>',
            f'<text x="{high + 8:.1f}" y="{middle + 4}">{score["value"]:.1%}</text>',
        ]
    return _svg("bars", len(scores) * _ROW, parts, "Exact match by release with 95% intervals")


def timeline(counts: dict[str, Any]) -> Markup:
    """Answers per second over time, one area a role, stacked."""
    answers: dict[str, list[int]] = counts["answers"]
    length = max((len(values) for values in answers.values()), default=0)
    if not length:
        return Markup("<p>No answers were recorded.</p>")
    seconds = counts["bin_seconds"]
    totals = [sum(values[number] for values in answers.values()) for number in range(length)]
    top = max(totals) / seconds
    step = (_WIDTH - 60) / length
    parts = []
    floor = [0.0] * length
    for role, values in answers.items():
        for number, value in enumerate(values):
            height = value / seconds / top * (_HEIGHT - 30)
            y = _HEIGHT - 20 - floor[number] - height
            floor[number] += height
            parts.append(
                f'<rect x="{50 + number * step:.1f}" y="{y:.1f}" width="{max(step - 1, 0.5):.1f}" '
                f'height="{height:.1f}" fill="{_COLOURS.get(role, "#555")}"/>'
            )
    parts += [
        f'<text x="44" y="14" text-anchor="end">{top:.0f}/s</text>',
        f'<text x="44" y="{_HEIGHT - 20}" text-anchor="end">0</text>',
        f'<text x="50" y="{_HEIGHT - 4}">start</text>',
        f'<text x="{_WIDTH - 10}" y="{_HEIGHT - 4}" text-anchor="end">{length * seconds:.0f} s</text>',
        *_legend(list(answers)),
    ]
    return _svg("timeline", _HEIGHT + 20, parts, "Answers per second by role over the rollout")


def _legend(roles: Sequence[str]) -> list[str]:
    parts = []
    for number, role in enumerate(roles):
        x, y = 50 + number * 110, _HEIGHT + 6
        parts += [
            f'<rect x="{x}" y="{y}" width="10" height="10" fill="{_COLOURS.get(role, "#555")}"/>',
            f'<text x="{x + 15}" y="{y + 10}">{escape(role)}</text>',
        ]
    return parts


def _svg(kind: str, height: float, parts: Sequence[str], title: str) -> Markup:
    body = "".join(parts)
    # Every part is made above of numbers and escaped words.
    return Markup(  # noqa: S704
        f'<svg class="{kind}" viewBox="0 0 {_WIDTH} {height:g}" role="img" aria-label="{title}">{body}</svg>'
    )
