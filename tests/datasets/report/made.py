"""Small datasets, made of rows by hand: the parts of each split and the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modelyard.core.digests import digest_json
from modelyard.core.files import write_json_atomically
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.ledger import Ledger, StepCount
from modelyard.datasets.outcome import Rejection
from modelyard.datasets.pipeline.digests import row_digests
from modelyard.datasets.report.building import build_report
from modelyard.datasets.report.statistics import Statistics
from modelyard.datasets.rows import ANSWER, ASSISTANT, PROMPT, USER, Rows
from modelyard.datasets.schema import rows_table
from modelyard.datasets.splits import SPLITS
from modelyard.datasets.texts import Texts


class Made(NamedTuple):
    """A row: its prompt, its answer, perhaps its id and its label."""

    prompt: str
    answer: str
    id: str | None = None
    label: str | None = None


def rows_of(made: Sequence[Made]) -> Rows:
    """Rows of one question and one answer each."""
    labels = [one.label for one in made]
    return Rows(
        line=np.arange(1, len(made) + 1),
        turns=Texts.of([text for one in made for text in (one.prompt, one.answer)]),
        roles=np.array([USER, ASSISTANT] * len(made), np.uint8),
        parts=np.array([PROMPT, ANSWER] * len(made), np.uint8),
        bounds=np.arange(0, 2 * len(made) + 1, 2),
        ids=[one.id for one in made],
        labels=labels if any(label is not None for label in labels) else None,
    )


def table_of(made: Sequence[Made]) -> pa.Table:
    """The same rows as the Parquet files hold them."""
    rows = rows_of(made)
    return rows_table(rows, source="rows.jsonl", digests=row_digests(rows))


def statistics_of(by_split: Mapping[str, Sequence[Made]], *, answers_are_labels: bool = False) -> Statistics:
    """What is counted of rows."""
    statistics = Statistics()
    for split, made in by_split.items():
        statistics.add_fields([{"text": one.prompt, "label": one.label} for one in made])
        statistics.add_rows(split, rows_of(made), table_of(made)["digest"], answers_are_labels=answers_are_labels)
    return statistics


def report_of(
    by_split: Mapping[str, Sequence[Made]],
    *,
    dropped: Sequence[Rejection] = (),
    config: DatasetConfig | None = None,
    answers_are_labels: bool = False,
    **more: Any,
) -> dict[str, Any]:
    """The report on rows, as `build_report` makes it. `dropped` are rows that `reading` let go."""
    num_rows = {split: len(by_split.get(split, ())) for split in SPLITS}
    ledger = Ledger(["reading", "personal_data", "exact_duplicates"])
    kept = sum(num_rows.values())
    for step, rejected in (("reading", dropped), ("personal_data", ()), ("exact_duplicates", ())):
        count = StepCount(step=step)
        count.add(rows_out=kept, rejected=rejected, findings={"email": 2} if step == "personal_data" else {})
        ledger.merge([count])
    config = config or DatasetConfig(path="rows.jsonl")
    told: dict[str, Any] = {
        "name": "made",
        "digest": digest_json([list(map(list, by_split.values())), config.model_dump(mode="json")]),
        "config": config,
        "sources": [{"path": "rows.jsonl", "digest": "sha256:" + "ab" * 32, "num_bytes": 1234, "format": "jsonl"}],
        "rows": num_rows,
        "ledger": ledger,
        "statistics": statistics_of(by_split, answers_are_labels=answers_are_labels),
        "shape": "prompt_completion",
        "clusters": {"exact": {"clusters": 0, "rows": 0, "largest": []}},
        "straddling": {},
    }
    return build_report(**{**told, **more})


def write_dataset(folder: Path, by_split: Mapping[str, Sequence[Made]], *, rows_per_part: int = 3, **more: Any) -> Path:
    """A dataset's folder: the parts of each split and report.json."""
    folder.mkdir()
    for split, made in by_split.items():
        table = table_of(made)
        for part, begin in enumerate(range(0, len(made), rows_per_part)):
            pq.write_table(table.slice(begin, rows_per_part), folder / f"{split}-{part:05d}.parquet")
    write_json_atomically(folder / "report.json", report_of(by_split, **more))
    return folder
