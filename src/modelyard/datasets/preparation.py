"""From a raw file to a dataset: the steps in their order, counted, with everything they rejected.

row by row, a batch at a time      reading, mapping, normalisation, length, splitting, personal_data
over all rows                      exact_duplicates, conflicts, near_duplicates
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.digests import digest_json
from modelyard.core.errors import MissingExtra
from modelyard.core.files import write_json_atomically

try:
    import polars as pl
except ModuleNotFoundError as error:
    raise MissingExtra("polars", "data") from error

from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.conflicts import drop_conflicts
from modelyard.datasets.exact_duplicates import drop_exact_duplicates
from modelyard.datasets.examples import read_split, write_splits
from modelyard.datasets.ledger import Ledger
from modelyard.datasets.length import bound_length
from modelyard.datasets.mapping import map_rows
from modelyard.datasets.near_duplicates import drop_near_duplicates
from modelyard.datasets.normalisation import normalise
from modelyard.datasets.outcome import Outcome
from modelyard.datasets.personal_data import handle_personal_data
from modelyard.datasets.raw_file import LineReader, RawFile, find_raw_file
from modelyard.datasets.reading import Batch, read_batches
from modelyard.datasets.report import build_report, describe_source
from modelyard.datasets.splitting import assign_split
from modelyard.ports.dataset import Dataset, Source

__all__ = ["STEPS", "Prepared", "prepare", "read_split"]

Progress = Callable[[str, int, int], None]
FrameStep = Callable[[pl.DataFrame, DatasetConfig], Outcome]

ROW_STEPS: tuple[tuple[str, FrameStep], ...] = (
    ("normalisation", normalise),
    ("length", bound_length),
    ("splitting", assign_split),
    ("personal_data", handle_personal_data),
)
SET_STEPS: tuple[tuple[str, FrameStep], ...] = (
    ("exact_duplicates", drop_exact_duplicates),
    ("conflicts", drop_conflicts),
    ("near_duplicates", drop_near_duplicates),
)
STEPS = ("reading", "mapping", *(name for name, _ in ROW_STEPS), *(name for name, _ in SET_STEPS))


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What a preparation made: a `Dataset` but for the blob it will lie in, and the content of report.json."""

    name: str
    digest: str
    rows: dict[str, int]
    sources: tuple[Source, ...]
    config: dict[str, Any]
    steps: tuple[dict[str, Any], ...]
    report: dict[str, Any]

    def dataset(self, *, blob: str, created_ms: int) -> Dataset:
        """The record of this dataset, once its files lie in a blob."""
        return Dataset(
            name=self.name,
            digest=self.digest,
            created_ms=created_ms,
            blob=blob,
            rows=self.rows,
            sources=self.sources,
            config=self.config,
            steps=self.steps,
        )


def prepare(name: str, config: DatasetConfig, *, root: Path, out: Path, progress: Progress | None = None) -> Prepared:
    """Prepare a raw file into the scratch folder `out`, which the caller makes appear or vanish as a whole.

    Writes train.parquet, validation.parquet, test.parquet, report.json and quarantine.jsonl. `progress` gets the
    step with what is done and in all: bytes while reading, rows after. The same file and configuration give the same
    bytes on any machine and any number of threads; an absolute path enters neither.
    Raises: DataInvalid where the file cannot be used, nothing is left, or a split that was asked for is empty.
    """
    progress = progress or _no_progress
    raw = find_raw_file(config.path, root)
    config = config.model_copy(update={"path": raw.name})
    reader = LineReader(raw)
    with Ledger(STEPS, out / "quarantine.jsonl") as ledger:
        batches = [_run_row_steps(batch, config, ledger) for batch in _read(raw, reader, progress)]
        frame = _run_set_steps(pl.concat(batches).with_row_index("row"), config, ledger, progress)
        rows_digest, rows = write_splits(frame, out)
        _check_splits(rows, config, ledger)
    digest = _digest_dataset(name, config, reader.source(), rows_digest)
    prepared = Prepared(
        name=name,
        digest=digest,
        rows=rows,
        sources=(reader.source(),),
        config=config.model_dump(mode="json"),
        steps=ledger.as_dicts(),
        report=build_report(name, digest, rows, describe_source(raw, reader), config, ledger, frame),
    )
    write_json_atomically(out / "report.json", prepared.report)
    return prepared


def _digest_dataset(name: str, config: DatasetConfig, source: Source, rows_digest: str) -> str:
    """Over all that makes a dataset what it is: its name, its rows, its raw file, its whole configuration."""
    return digest_json(
        {"name": name, "rows": rows_digest, "sources": [source.digest], "config": config.model_dump(mode="json")}
    )


def _read(raw: RawFile, reader: LineReader, progress: Progress) -> Iterator[Batch]:
    return read_batches(raw, reader, progress=lambda done, total: progress("reading", done, total))


def _run_row_steps(batch: Batch, config: DatasetConfig, ledger: Ledger) -> pl.DataFrame:
    num_rows = len(batch.rows)
    ledger.record("reading", rows_in=num_rows + len(batch.rejected), rows_out=num_rows, rejected=batch.rejected)
    outcome = map_rows(batch, config)
    _record("mapping", num_rows, outcome, ledger)
    for step, run in ROW_STEPS:
        rows_in = outcome.kept.height
        outcome = run(outcome.kept, config)
        _record(step, rows_in, outcome, ledger)
    return outcome.kept


def _run_set_steps(frame: pl.DataFrame, config: DatasetConfig, ledger: Ledger, progress: Progress) -> pl.DataFrame:
    for step, run in SET_STEPS:
        if frame.is_empty():
            raise ledger.nothing_left("no row is left")
        progress(step, 0, frame.height)
        outcome = run(frame, config)
        _record(step, frame.height, outcome, ledger)
        progress(step, frame.height, frame.height)
        frame = outcome.kept
    if frame.is_empty():
        raise ledger.nothing_left("no row is left")
    return frame


def _record(step: str, rows_in: int, outcome: Outcome, ledger: Ledger) -> None:
    ledger.record(
        step,
        rows_in=rows_in,
        rows_out=outcome.kept.height,
        rejected=outcome.rejections(),
        changed=outcome.changed,
        findings=outcome.findings,
    )


def _check_splits(rows: dict[str, int], config: DatasetConfig, ledger: Ledger) -> None:
    for split, share in config.splits.items():
        if share and not rows[split]:
            raise ledger.nothing_left(
                f"of {sum(rows.values())} rows left, none fell into the split '{split}' (share {share:g})",
                fix=f"add rows, or set `splits.{split}` to 0 and give its share to another split",
            )


def _no_progress(step: str, done: int, total: int) -> None:
    pass
