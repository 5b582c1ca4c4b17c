"""The report of a preparation: what came in, what each step did, and what the result looks like.

It holds no times and no machine, so that the same input and configuration give the same bytes.
"""

from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.ledger import Ledger
from modelyard.datasets.raw_file import LineReader, RawFile
from modelyard.datasets.splits import SPLITS

if TYPE_CHECKING:
    from rich.table import Table

    from modelyard.datasets.preparation import Prepared

_MAX_LABELS = 500
_MAX_CLUSTERS = 10
_EXCERPT_CHARS = 160
_LENGTH_BOUNDS = (0, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)


def build_report(
    name: str,
    digest: str,
    rows: dict[str, int],
    source: dict[str, Any],
    config: DatasetConfig,
    ledger: Ledger,
    frame: pl.DataFrame,
) -> dict[str, Any]:
    """The content of report.json. `frame` holds the rows of the result."""
    personal_data = ledger.count("personal_data")
    return {
        "name": name,
        "digest": digest,
        "rows_read": ledger.rows_read,
        "rows": rows,
        "config": config.model_dump(mode="json"),
        "sources": [source],
        "steps": list(ledger.as_dicts()),
        "labels": _labels(frame),
        "lengths": {"prompt": _lengths(frame["prompt"]), "answer": _lengths(frame["answer"])},
        "personal_data": {"mode": config.personal_data, "found": dict(sorted(personal_data.findings.items()))},
        "duplicates": {
            "exact": _clusters(frame.with_columns(size=pl.col("copies"))),
            "near": _clusters(frame.with_columns(size=pl.col("similar") + 1)),
        },
    }


def describe_source(raw: RawFile, reader: LineReader) -> dict[str, Any]:
    """A raw file as it was read."""
    return {
        **msgspec.to_builtins(reader.source()),
        "format": raw.format,
        "compression": raw.compression,
        "detected_by": raw.detected_by,
        "has_bom": reader.has_bom,
    }


def _labels(frame: pl.DataFrame) -> dict[str, Any]:
    """How often each answer is given in each split; for answers that are not labels only how many differ."""
    distinct = frame["answer"].n_unique()
    balance: dict[str, dict[str, int]] = {}
    if distinct <= _MAX_LABELS:
        counts = frame.group_by("answer", "split").len().sort("answer", "split")
        for answer, split, count in counts.iter_rows():
            balance.setdefault(answer[:_EXCERPT_CHARS], dict.fromkeys(SPLITS, 0))[split] = count
    return {"distinct": distinct, "rows": balance}


def _lengths(texts: pl.Series) -> list[dict[str, int | None]]:
    """Rows by length in characters: from `from` up to, but not including, `to`."""
    lengths = texts.str.len_chars()
    counted: list[dict[str, int | None]] = []
    for low, high in zip(_LENGTH_BOUNDS, (*_LENGTH_BOUNDS[1:], None), strict=True):
        inside = (lengths >= low) & (lengths < high) if high is not None else lengths >= low
        counted.append({"from": low, "to": high, "rows": int(inside.sum())})
    return counted


def _clusters(frame: pl.DataFrame) -> dict[str, Any]:
    """Kept rows that stand for several, with the largest of them."""
    clusters = frame.filter(pl.col("size") > 1).sort("size", "row", descending=[True, False])
    largest = clusters.head(_MAX_CLUSTERS).select("line", "size", pl.col("prompt").str.slice(0, _EXCERPT_CHARS))
    return {
        "clusters": clusters.height,
        "rows": int(clusters["size"].sum()),
        "largest": [{"line": line, "rows": size, "prompt": prompt} for line, size, prompt in largest.iter_rows()],
    }


def summary_table(prepared: "Prepared") -> "Table":
    """The steps and the splits for the terminal."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{escape(prepared.name)}: {prepared.report['rows_read']:,} rows read", title_justify="left")
    for heading in ("step", "rows in", "dropped", "changed"):
        table.add_column(heading, justify="left" if heading == "step" else "right")
    table.add_column("dropped for", overflow="fold")
    for count in prepared.steps:
        causes = ", ".join(f"{cause} {rows:,}" for cause, rows in sorted(count["causes"].items(), key=_most_first))
        numbers = (f"{count[key]:,}" if count[key] else "" for key in ("rows_in", "dropped", "changed"))
        table.add_row(count["step"], *numbers, escape(causes))
    table.add_section()
    for split, rows in prepared.rows.items():
        table.add_row(split, f"{rows:,}")
    found = prepared.report["personal_data"]["found"]
    if found:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in found.items())
        table.caption = f"Personal data ({prepared.report['personal_data']['mode']}): {kinds}"
    return table


def _most_first(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]
