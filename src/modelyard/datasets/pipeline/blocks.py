"""One block on its way through the steps that judge each row alone. Runs in a worker.

What is left of the block lies in the folder of the preparation as an Arrow file; its keys go back to the coordinator.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.duplicates.folding import fold
from modelyard.datasets.index import Hashes
from modelyard.datasets.ledger import StepCount, quarantine_line
from modelyard.datasets.length import bound_length
from modelyard.datasets.normalisation import normalise
from modelyard.datasets.outcome import Outcome, Rejection
from modelyard.datasets.overlap.overlap import drop_overlap
from modelyard.datasets.personal.step import handle_personal_data
from modelyard.datasets.pipeline.digests import row_digests
from modelyard.datasets.pipeline.keys import Keys, keys_of
from modelyard.datasets.pipeline.plan import Plan, load_plan
from modelyard.datasets.pipeline.splitting import split_hashes
from modelyard.datasets.pipeline.spool import block_file, rejected_file, write_table
from modelyard.datasets.quality.judging import judge_quality
from modelyard.datasets.report.statistics import Statistics
from modelyard.datasets.rows import Rows
from modelyard.datasets.schema import rows_table
from modelyard.datasets.shapes.shaping import shape_rows
from modelyard.datasets.sources.block import Block, Records
from modelyard.datasets.sources.parsing import parse_block
from modelyard.datasets.texts import Ints, Texts
from modelyard.datasets.tokens import bound_tokens

RowStep = Callable[[Rows, Plan, Statistics], Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTask:
    """A block for a worker. `plan` is where its plan lies, `number` counts the blocks from 0."""

    plan: Path
    number: int
    block: Block


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockResult:
    """What became of a block. `labels` are the labels that occur, `strata` counts in them: -1 is a row without one.

    Shapes: split_hash, lines, strata (rows,); `digests` has 32 bytes a row.
    """

    counts: list[StepCount]
    statistics: Statistics
    keys: Keys
    split_hash: Hashes
    lines: Ints
    digests: bytes
    labels: list[str]
    strata: Ints


def work_block(task: BlockTask) -> BlockResult:
    """Take a block through the row steps and leave its rows, and those rejected, in the folder."""
    plan = load_plan(task.plan)
    with rejected_file(plan.folder, task.number).open("wb") as rejected:
        walk = _Walk(plan, parse_block(task.block), rejected)
        rows = walk.settle("mapping", shape_rows(walk.records, plan.shape, plan.config))
        for name in row_steps(plan.config):
            rows = walk.settle(name, _STEPS[name](rows, plan, walk.statistics))
    if rows.split_hash is None:
        raise AssertionError("the rows have no split")
    digests = row_digests(rows)
    write_table(block_file(plan.folder, task.number), rows_table(rows, source=task.block.source.name, digests=digests))
    labels, strata = _strata(rows, plan)
    return BlockResult(
        counts=walk.counts,
        statistics=walk.statistics,
        keys=keys_of(rows, plan.config),
        split_hash=rows.split_hash,
        lines=rows.line,
        digests=digests,
        labels=labels,
        strata=strata,
    )


def row_steps(config: DatasetConfig) -> tuple[str, ...]:
    """The names of the row steps behind `mapping` that a configuration asks for, in their order."""
    wanted = {
        "tokens": config.tokens is not None,
        "quality": config.quality.is_on,
        "decontamination": config.decontaminate is not None,
        "exclusion": config.exclude is not None,
    }
    return tuple(name for name in _STEPS if wanted.get(name, True))


class _Walk:
    """The counts of a block and its rejected rows, with the place in the source of every row that is left."""

    def __init__(self, plan: Plan, records: Records, rejected: BinaryIO) -> None:
        self._plan = plan
        self.records = records
        self.counts: list[StepCount] = []
        self.statistics = Statistics()
        self.statistics.add_fields(records.fields)
        self._file = rejected
        self._origin = np.arange(len(records.fields))
        self._note("reading", len(records.fields), records.rejected)

    def settle(self, step: str, outcome: Outcome) -> Rows:
        """The rows that a step leaves; those it rejected are counted and written down."""
        keep = np.ones(len(outcome.rows), bool)
        keep[list(outcome.rejected)] = False
        rejections = [
            self._rejection(outcome.rows, place, reason) for place, reason in sorted(outcome.rejected.items())
        ]
        self._note(step, int(keep.sum()), rejections, outcome.changed, outcome.findings)
        self._origin = self._origin[keep]
        return outcome.rows.take(keep)

    def _rejection(self, rows: Rows, place: int, reason: str) -> Rejection:
        raw = self.records.raws[self._origin[place]].decode("utf-8", "replace")
        return Rejection(source=self.records.source, line=int(rows.line[place]), reason=reason, raw=raw)

    def _note(
        self,
        step: str,
        rows_out: int,
        rejections: Sequence[Rejection],
        changed: int = 0,
        findings: Mapping[str, int] | None = None,
    ) -> None:
        rejections = [self._plan.covered(one) for one in rejections]
        count = StepCount(step=step)
        count.add(rows_out=rows_out, rejected=rejections, changed=changed, findings=findings or {})
        self.counts.append(count)
        self._file.writelines(quarantine_line(step, rejection) for rejection in rejections)


def _split(rows: Rows, plan: Plan, statistics: Statistics) -> Outcome:
    """Rejects nothing. The text decides as it was written, before personal data is masked."""
    if rows.groups is None:
        keys = fold(rows.subjects())
    else:
        own = fold(rows.subjects()).to_list()
        keys = Texts.of([text if group is None else group for group, text in zip(rows.groups, own, strict=True)])
    return Outcome(rows=replace(rows, split_hash=split_hashes(keys, plan.config.salt)))


def _count_tokens(rows: Rows, plan: Plan, statistics: Statistics) -> Outcome:
    if plan.counter is None or plan.config.tokens is None:
        raise AssertionError("the plan has no tokenizer")
    outcome, counts = bound_tokens(rows, plan.counter, plan.config.tokens)
    statistics.add_tokens(counts)
    return outcome


def _decontaminate(rows: Rows, plan: Plan, statistics: Statistics) -> Outcome:
    if plan.suites is None:
        raise AssertionError("the plan has no texts of suites")
    return drop_overlap(rows, plan.suites, "leak")


def _exclude(rows: Rows, plan: Plan, statistics: Statistics) -> Outcome:
    if plan.known is None:
        raise AssertionError("the plan has no texts of other datasets")
    return drop_overlap(rows, plan.known, "known row")


_STEPS: dict[str, RowStep] = {
    "normalisation": lambda rows, plan, _: normalise(rows, plan.config),
    "length": lambda rows, plan, _: bound_length(rows, plan.config),
    "tokens": _count_tokens,
    "quality": lambda rows, plan, _: judge_quality(rows, plan.config.quality),
    "splitting": _split,
    "personal_data": lambda rows, plan, _: handle_personal_data(rows, plan.config.personal_data, plan.presidio),
    "decontamination": _decontaminate,
    "exclusion": _exclude,
}


def _strata(rows: Rows, plan: Plan) -> tuple[list[str], Ints]:
    """The labels of a block and the one of each row, where splits are to be stratified."""
    if not plan.config.stratify:
        return [], np.full(len(rows), -1, np.int64)
    given: Sequence[str | None] = rows.labels or rows.answers().to_list()
    labels = ["" if label is None else label for label in given]
    names = sorted(set(labels))
    number = {name: place for place, name in enumerate(names)}
    return names, np.array([number[label] for label in labels], np.int64)
