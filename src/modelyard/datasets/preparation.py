"""From raw rows to a dataset: the steps in their order, counted, with everything they rejected.

first pass, by workers      reading, mapping, normalisation, length, tokens, quality, splitting, personal_data,
                            decontamination, exclusion: each row alone, a block at a time
in between, here            exact_duplicates, conflicts, near_duplicates, semantic_duplicates, balance: by keys
second pass, by workers     the rows that are left as Parquet, the others into the quarantine
"""

import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.digests import digest_json
from modelyard.core.errors import DataInvalid, MissingExtra, Unavailable
from modelyard.core.files import write_json_atomically

try:
    import numba  # noqa: F401
    import numpy as np
    import pyarrow  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "pyarrow", "data") from error

from modelyard.datasets.collection.reasons import COLLECTING
from modelyard.datasets.collection.stream import Collected, StreamReader
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.files import read_split
from modelyard.datasets.overlap.reference import Reference
from modelyard.datasets.personal.presidio import Presidio
from modelyard.datasets.pipeline.blocks import row_steps
from modelyard.datasets.pipeline.first_pass import BlockFeed, FirstPass, Progress
from modelyard.datasets.pipeline.plan import Plan
from modelyard.datasets.pipeline.second_pass import GONE, SecondPass, Splits, StepDrops
from modelyard.datasets.pipeline.set_steps import Fetch, SetSteps, set_steps
from modelyard.datasets.pipeline.spool import join_quarantine
from modelyard.datasets.report.building import build_report, straddling
from modelyard.datasets.shapes.detection import detect_shape
from modelyard.datasets.shapes.shape import Shape
from modelyard.datasets.sources.block import Block, SourceFile
from modelyard.datasets.sources.finding import describe, find_sources
from modelyard.datasets.sources.parsing import parse_block
from modelyard.datasets.tokens import TokenCounter
from modelyard.ports.dataset import Dataset, Source
from modelyard.ports.workers import Inline, Workers

__all__ = ["Prepared", "prepare", "read_split", "steps"]

# Below this, starting workers takes longer than the work.
_WORTH_WORKERS_BYTES = 32 << 20
_DETECTION_ROWS = 100
_DETECTION_BLOCKS = 16
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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


def steps(config: DatasetConfig) -> tuple[str, ...]:
    """The names of the steps that a configuration asks for, in their order."""
    before = (COLLECTING,) if config.collect else ()
    return (*before, "reading", "mapping", *row_steps(config), *set_steps(config))


class Forbidden(msgspec.Struct, frozen=True, kw_only=True):
    """Texts that no row may repeat, with the digest over them, which enters the dataset's."""

    reference: Reference
    digest: str


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """What a preparation takes besides the files that its configuration names.

    `suites` are texts of evaluation suites, `known` those of other datasets, `collected` the rows of a configuration
    with `collect`, whose window and releases are those that were meant at the time.
    """

    suites: Forbidden | None = None
    known: Forbidden | None = None
    collected: Collected | None = None


def prepare(
    name: str,
    config: DatasetConfig,
    *,
    root: Path,
    out: Path,
    workers: Workers | None = None,
    inputs: Inputs | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Prepare raw rows into the scratch folder `out`, which the caller makes appear or vanish as a whole.

    Writes {split}-{part}.parquet, report.json and quarantine.jsonl. `progress` gets the step with what is done and in
    all: bytes while reading, parts while writing. The same rows and configuration give the same digest on any machine
    and with any workers; an absolute path enters nothing.
    Raises: DataInvalid where a source cannot be used, nothing is left, or a split that was asked for is empty;
    Unavailable where the disk is full.
    """
    inputs = inputs or Inputs()
    with _work_folder(out) as folder:
        work = _Preparation(name, config, inputs, root=root, out=out, folder=folder, progress=progress or _silent)
        return work.run(workers or Inline())


class _Preparation:
    """One preparation on its way."""

    def __init__(
        self,
        name: str,
        config: DatasetConfig,
        inputs: Inputs,
        *,
        root: Path,
        out: Path,
        folder: Path,
        progress: Progress,
    ) -> None:
        self._name = name
        self._inputs = inputs
        self._root = root
        self._out = out
        self._progress = progress
        self._stream = StreamReader(inputs.collected) if inputs.collected else None
        self._sources = [inputs.collected.source] if inputs.collected else find_sources(config, root)
        named = () if inputs.collected else tuple(source.name for source in self._sources)
        self._config = config.model_copy(update={"path": named})
        self._counter = TokenCounter.load(config.tokens.tokenizer, root) if config.tokens else None
        personal = config.personal_data.presidio
        self._presidio = Presidio.load(personal, root) if personal else None
        self._feed = BlockFeed(self._sources, progress, self._stream)
        self._first = FirstPass(folder, self._config, steps(config))
        self._folder = folder

    def run(self, workers: Workers) -> Prepared:
        """All steps, and the files."""
        if self._feed.num_bytes < _WORTH_WORKERS_BYTES:
            workers = Inline()
        try:
            with workers:
                return self._run(workers)
        finally:
            self._first.close()

    def _run(self, workers: Workers) -> Prepared:
        plan = self._first_pass(workers)
        splits, drops, told = self._set_steps(plan, workers)
        second = SecondPass(self._first, plan, splits, drops)
        self._first.ledger.merge(second.counts())
        statistics = second.run(self._out, workers, self._progress)
        statistics.merge(self._first.statistics)
        rows_digest, rows = second.rows_digest()
        self._check_rows(rows)
        self._first.ledger.check()
        sources = tuple(self._feed.parents)
        digest = self._digest(rows_digest, sources)
        report = build_report(
            name=self._name,
            digest=digest,
            config=self._config,
            sources=self._told_sources(sources),
            rows=rows,
            ledger=self._first.ledger,
            statistics=statistics,
            shape=plan.shape.describe(),
            **told,
        )
        write_json_atomically(self._out / "report.json", report)
        return Prepared(
            name=self._name,
            digest=digest,
            rows=rows,
            sources=sources,
            config=self._config.model_dump(mode="json"),
            steps=self._first.ledger.as_dicts(),
            report=report,
        )

    def _first_pass(self, workers: Workers) -> Plan:
        blocks = iter(self._feed)
        shape, looked_at = self._shape(blocks)
        plan = Plan(
            config=self._config,
            shape=shape,
            folder=self._folder,
            counter=self._counter,
            presidio=self._presidio,
            suites=self._inputs.suites.reference if self._inputs.suites else None,
            known=self._inputs.known.reference if self._inputs.known else None,
        )
        plan.save()
        self._first.run(plan.path, chain(looked_at, blocks), workers)
        if self._stream:
            self._first.ledger.merge([self._stream.count()])
        if not len(self._first.places):
            join_quarantine(self._folder, self._out / "quarantine.jsonl")
            raise self._first.ledger.nothing_left("no row is left")
        return plan

    def _shape(self, blocks: Iterator[Block]) -> tuple[Shape, list[Block]]:
        """The shape of all rows, by the first ones that can be read; and the blocks that were looked at for it."""
        looked_at = []
        for block in islice(blocks, _DETECTION_BLOCKS):
            looked_at.append(block)
            records = parse_block(block)
            if records.fields:
                return detect_shape(records.fields[:_DETECTION_ROWS], self._config), looked_at
        lost = records.rejected[0] if looked_at and records.rejected else None
        seen = f"line {lost.line} of {lost.source}: {lost.reason}" if lost else "there are none"
        raise DataInvalid(
            f"no row at the beginning of {_listed(self._sources)} can be read ({seen})",
            expected="rows that show what shape they have",
            fix="mend the lines; each needs one JSON object, or the cells that the header names",
        )

    def _set_steps(self, plan: Plan, workers: Workers) -> tuple[Splits, list[StepDrops], dict[str, Any]]:
        """The split of each row that is left, what each step over all rows let go, and what the report tells of it.

        The keys of the rows are needed here alone, and leave the memory with this call.
        """
        first = self._first
        work = SetSteps.over(
            first.index(),
            bands=first.bands,
            hashes=first.hashes,
            fetch=Fetch(folder=self._folder, places=first.places, config=self._config),
            workers=workers,
            is_labelled=plan.has_labels,
        )
        drops = []
        for step, lost in work.run(self._config):
            drops.append((step, lost))
            self._progress(step, len(first.places), len(first.places))
        told = {
            "clusters": work.clusters(),
            "straddling": {step: straddling(lost, work.index.split) for step, lost in drops},
        }
        return np.where(work.alive, work.index.split, GONE).astype(np.int8), drops, told

    def _told_sources(self, parents: Sequence[Source]) -> list[dict[str, Any]]:
        """The sources as the report tells of them, with how they were read."""
        pairs = zip(self._sources, parents, strict=True)
        return [{**msgspec.to_builtins(parent), "title": parent.title, **describe(source)} for source, parent in pairs]

    def _check_rows(self, rows: dict[str, int]) -> None:
        if not sum(rows.values()):
            raise self._first.ledger.nothing_left("no row is left")
        for split, share in self._config.splits.items():
            if share and not rows[split]:
                raise self._first.ledger.nothing_left(
                    f"of {sum(rows.values())} rows left, none fell into the split '{split}' (share {share:g})",
                    fix=f"add rows, or set `splits.{split}` to 0 and give its share to another split",
                )

    def _digest(self, rows_digest: str, parents: Sequence[Source]) -> str:
        """Over all that makes a dataset what it is: name, rows, what they came from, the whole configuration."""
        return digest_json(
            {
                "name": self._name,
                "rows": rows_digest,
                "sources": [parent.digest for parent in parents],
                "config": self._config.model_dump(mode="json"),
                "suites": self._inputs.suites and self._inputs.suites.digest,
                "known": self._inputs.known and self._inputs.known.digest,
                "tokenizer": self._counter and self._counter.digest,
                "presidio": self._presidio and self._presidio.digest,
            }
        )


def _listed(sources: Sequence[SourceFile]) -> str:
    names = [source.name for source in sources[:3]]
    return ", ".join(names) + (f" and {len(sources) - 3} more" if len(sources) > 3 else "")


@contextmanager
def _work_folder(out: Path) -> Iterator[Path]:
    """The folder in which workers leave what they made, gone in the end. A full disk is said as what it is."""
    folder = out / "work"
    folder.mkdir()
    try:
        yield folder
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise Unavailable(
            f"the disk is full: {error.strerror} ({error.filename or out})",
            expected="free space of about twice the size of the raw files, unpacked",
            fix="free some space, or move the project's state to another disk, and prepare again; nothing was recorded",
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _silent(step: str, done: int, total: int) -> None:
    pass
