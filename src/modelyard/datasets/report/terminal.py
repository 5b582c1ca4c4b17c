"""A report and a comparison in words: titles, tables, notes. Knows nothing about how a terminal draws them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from modelyard.core.digests import short
from modelyard.datasets.collection.reasons import COLLECTING
from modelyard.datasets.report.reading import leaks

Told = Mapping[str, Any]
_MAX_ROWS = 15
_MAX_CAUSES = 3
_BAR_CHARS = 24


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A part of what is told: its title, perhaps a table, and what to say if that has no lines."""

    title: str
    headings: tuple[str, ...] = ()
    lines: Sequence[tuple[str, ...]] = ()
    empty: str = ""


def report_sections(report: Told, *, verbose: bool = False) -> Iterator[Section]:
    """All of a report. `verbose` adds ten dropped rows of each step, and every label."""
    yield Section(title=_title(report))
    yield from _source_sections(report)
    yield steps_section(report["steps"])
    yield from passed_over_sections(report["steps"])
    if verbose:
        yield from example_sections(report["steps"])
    yield from _label_sections(report, verbose=verbose)
    yield _lengths(report["lengths"])
    yield _languages(report["languages"])
    yield from _duplicates(report)
    yield from _personal_data(report["personal_data"])
    yield _leakage(report)
    if verbose:
        yield _fields(report["fields"])


def steps_section(steps: Sequence[Told]) -> Section:
    """What each step did, with its commonest causes."""
    lines = [
        (step["step"], f"{step['rows_in']:,}", _number(step["dropped"]), _number(step["changed"]),
         f"{step['rows_out']:,}", _causes(step.get("causes", {})))
        for step in steps
    ]  # fmt: skip
    return Section(title="Steps", headings=("step", "in", "dropped", "changed", "out", "dropped for"), lines=lines)


def passed_over_sections(steps: Sequence[Told]) -> Iterator[Section]:
    """Why interactions were not collected, where rows came from production."""
    for step in steps:
        if step["step"] == COLLECTING and step["dropped"]:
            lines = [(reason, f"{count:,}") for reason, count in _ranked(step["causes"])]
            title = f"Passed over in production: {step['dropped']:,} of {step['rows_in']:,} interactions"
            yield Section(title=title, headings=("reason", "interactions"), lines=lines)


def example_sections(steps: Sequence[Told]) -> Iterator[Section]:
    """Ten dropped rows of each step that dropped any, with the reason."""
    for step in steps:
        if step["examples"]:
            lines = [(f"{one['source']}:{one['line']}", one["reason"], one["raw"]) for one in step["examples"]]
            title = f"Dropped by '{step['step']}': {len(lines)} of {step['dropped']:,}"
            yield Section(title=title, headings=("row", "reason", "text"), lines=lines)


def comparison_sections(comparison: Told, *, verbose: bool = False) -> Iterator[Section]:
    """All of a comparison. `verbose` adds examples of the rows."""
    a, b = (f"{comparison[side]['name']}@{short(comparison[side]['digest'])}" for side in ("a", "b"))
    yield Section(title=f"{a} to {b}" + (": the same dataset" if comparison["is_same"] else ""))
    yield from _row_sections(comparison, verbose=verbose)
    yield _changed_config(comparison["config"])
    yield _compared_sources(comparison["sources"])
    yield _compared_steps(comparison["steps"])
    yield from _drifts(comparison)


def finding_section(findings: Sequence[Told]) -> Section:
    """What was expected of a dataset, and what it is."""
    lines = [
        ("yes" if one["passed"] else "NO", one["expectation"], _value(one["bound"]), _value(one["seen"]), one["detail"])
        for one in findings
    ]
    return Section(
        title="Expectations",
        headings=("passed", "expectation", "bound", "seen", "detail"),
        lines=lines,
        empty="Nothing is expected of it. State bounds under `expectations` of the dataset in the project file.",
    )


def _title(report: Told) -> str:
    rows = ", ".join(f"{rows:,} {split}" for split, rows in report["rows"].items())
    return f"{report['name']}@{short(report['digest'])}: of {report['rows_read']:,} raw rows {rows}"


def _source_sections(report: Told) -> Iterator[Section]:
    lines = [
        (
            source.get("title", source["path"]),
            source.get("format", ""),
            f"{source['num_bytes']:,}",
            short(source["digest"]),
        )
        for source in report["sources"][:_MAX_ROWS]
    ]
    more = len(report["sources"]) - len(lines)
    title = "Sources" + (f" ({more:,} more)" if more else "")
    yield Section(title=title, headings=("file", "format", "bytes", "digest"), lines=lines)


def _label_sections(report: Told, *, verbose: bool) -> Iterator[Section]:
    labels = report["labels"]
    if labels["rows"]:
        shown = list(labels["rows"].items())[: None if verbose else _MAX_ROWS]
        most = max(sum(rows.values()) for _, rows in shown)
        lines = [
            (label, *(_number(count) for count in rows.values()), _bar(sum(rows.values()), most))
            for label, rows in shown
        ]
        more = len(labels["rows"]) - len(shown)
        title = f"Labels: {labels['distinct']:,}" + (f" ({more:,} more with --verbose)" if more else "")
        yield Section(title=title, headings=("label", *report["rows"], ""), lines=lines)
    elif not labels["is_exact"]:
        yield Section(title=f"Labels: about {labels['distinct']:,} distinct ones, too many for labels")
    if any(report["desirable"].values()):
        yes, no = (report["desirable"][name] for name in ("yes", "no"))
        yield Section(title=f"Verdicts: {yes:,} desirable, {no:,} not")


def _lengths(lengths: Told) -> Section:
    names = {"prompt": "prompt, characters", "answer": "answer, characters", "rejected": "rejected answer, characters"}
    lines = [
        (names.get(part, part), *(f"{counts[name]:,}" for name in ("min", "p50", "mean", "p95", "max")),
         _spark([one["rows"] for one in counts["bins"]]))
        for part, counts in lengths.items() if counts["rows"]
    ]  # fmt: skip
    return Section(
        title="Lengths",
        headings=("of", "least", "median (about)", "mean", "95% (about)", "most", "spread"),
        lines=lines,
    )


def _languages(languages: Told) -> Section:
    most = max(languages["rows"].values(), default=0)
    sampled = languages["sampled"]
    lines = [
        (name, f"{rows / sampled:.1%}", _bar(rows, most)) for name, rows in list(languages["rows"].items())[:_MAX_ROWS]
    ]
    return Section(title=f"Languages, of {sampled:,} rows sampled", headings=("language", "share", ""), lines=lines)


def _duplicates(report: Told) -> Iterator[Section]:
    for kind, found in report["duplicates"].items():
        lines = [
            (f"{one['rows']:,}", f"{one['source']}:{one['line']}", _line(one["prompt"])) for one in found["largest"]
        ]
        title = f"{kind.capitalize()} duplicates: {found['rows']:,} rows in {found['clusters']:,} clusters"
        yield Section(title=title, headings=("rows", "kept", "text"), lines=lines)
    conflicts = report["conflicts"]
    lines = [(f"{one['source']}:{one['line']}", one["reason"], _line(one["raw"])) for one in conflicts["examples"]]
    title = f"Conflicts: {conflicts['rows']:,} rows dropped (mode {conflicts['mode']})"
    yield Section(title=title, headings=("row", "reason", "text"), lines=lines)


def _personal_data(found: Told) -> Iterator[Section]:
    lines = [(kind, f"{count:,}") for kind, count in found["found"].items()]
    yield Section(
        title=f"Personal data (mode {found['mode']})", headings=("kind", "found"), lines=lines, empty="None was found."
    )


def _leakage(report: Told) -> Section:
    lines = [(step, what, f"{rows:,}") for step, what, rows in leaks(report)]
    return Section(
        title="Leakage kept out", headings=("step", "what", "rows"), lines=lines, empty="No row would have leaked."
    )


def _fields(fields: Told) -> Section:
    lines = [
        (name, *(_number(counts[part]) for part in ("missing", "null", "empty")), f"{counts['share']:.1%}")
        for name, counts in fields["fields"].items()
    ]
    return Section(title="Fields of the raw rows", headings=("field", "missing", "null", "empty", "share"), lines=lines)


def _row_sections(comparison: Told, *, verbose: bool) -> Iterator[Section]:
    rows = comparison["rows"]
    lines = [
        (split, *(f"{counts[name]:,}" for name in ("a", "b")),
         *(_number(counts[name]) for name in ("added", "removed", "changed")))
        for split, counts in rows["by_split"].items()
    ]  # fmt: skip
    yield Section(
        title=f"Rows: {rows['same']:,} the same, {rows['added']:,} added, {rows['removed']:,} removed, "
        f"{rows['changed']:,} changed",
        headings=("split", "before", "after", "added", "removed", "changed"),
        lines=lines,
    )
    why = (
        f"; the splits follow other rules: {', '.join(comparison['split_rules'])}" if comparison["split_rules"] else ""
    )
    ways = [(way, f"{count:,}") for way, count in rows["moves"].items()]
    yield Section(title=f"{rows['moved']:,} rows moved to another split{why}", headings=("way", "rows"), lines=ways)
    if not verbose:
        return
    for kind in ("added", "removed", "moved"):
        found = [
            (one["split"], f"{one['source']}:{one['line']}", _line(one["prompt"]), _line(one["answer"]))
            for one in rows["examples"][kind]
        ]
        yield Section(title=f"Rows {kind}", headings=("split", "row", "prompt", "answer"), lines=found, empty="None.")
    changed = [
        (one["id"], *(_line(f"{one[side]['prompt']} -> {one[side]['answer']}") for side in ("a", "b")))
        for one in rows["examples"]["changed"]
    ]
    yield Section(title="Rows changed", headings=("id", "before", "after"), lines=changed, empty="None.")


def _changed_config(changes: Sequence[Told]) -> Section:
    lines = [(one["key"], _value(one["a"]), _value(one["b"])) for one in changes]
    return Section(
        title="Configuration", headings=("key", "before", "after"), lines=lines, empty="The configuration is the same."
    )


def _compared_sources(sources: Sequence[Told]) -> Section:
    lines = [
        (one["path"], one["became"], *(_number(one["num_bytes"][side] or 0) for side in ("a", "b")))
        for one in sources[:_MAX_ROWS]
    ]
    return Section(title="Sources", headings=("file", "became", "bytes before", "bytes after"), lines=lines)


def _compared_steps(steps: Sequence[Told]) -> Section:
    lines = []
    for step in steps:
        sides = (step["a"] or {}, step["b"] or {})
        cells = [f"{side[name]:,}" if side else "-" for name in ("rows_in", "dropped", "changed") for side in sides]
        lines.append((step["step"], *cells))
    headings = ("step", "in, before", "after", "dropped, before", "after", "changed, before", "after")
    return Section(title="Steps", headings=headings, lines=lines)


def _drifts(comparison: Told) -> Iterator[Section]:
    labels = comparison["labels"]
    lines = [] if labels["distance"] is None else [("labels", f"{labels['distance']:.3f}", "")]
    for part, drift in comparison["lengths"].items():
        sides = " to ".join(f"{drift[side]['mean']:,}" for side in ("a", "b"))
        lines.append((f"{part} lengths", f"{drift['distance']:.3f}", f"mean {sides}"))
    lines.append(("languages", f"{comparison['languages']['distance']:.3f}", ""))
    yield Section(
        title="Drift (total variation distance: 0 the same, 1 nothing in common)",
        headings=("of", "distance", ""),
        lines=lines,
    )
    if labels["most"]:
        most = [(one["label"], f"{one['a']:,}", f"{one['b']:,}") for one in labels["most"]]
        yield Section(title="Labels whose share moved most", headings=("label", "before", "after"), lines=most)


def _causes(causes: Told) -> str:
    ranked = _ranked(causes)
    told = [f"{rows:,} {cause}" for cause, rows in ranked[:_MAX_CAUSES]]
    return ", ".join(told) + (f", {len(ranked) - _MAX_CAUSES} more causes" if len(ranked) > _MAX_CAUSES else "")


def _ranked(causes: Told) -> list[tuple[str, int]]:
    return sorted(causes.items(), key=lambda item: (-item[1], item[0]))


def _number(count: int) -> str:
    return f"{count:,}" if count else ""


def _value(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _line(text: str) -> str:
    return " ".join(text.split())


def _bar(count: int, most: int) -> str:
    return "█" * max(round(_BAR_CHARS * count / most), 1) if count else ""


def _spark(counts: Sequence[int]) -> str:
    """The shape of a histogram in a few letters."""
    most = max(counts, default=0)
    return "".join(" ▁▂▃▄▅▆▇█"[-(-8 * count // most)] for count in counts) if most else ""
