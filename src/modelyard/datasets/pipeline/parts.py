"""The second pass, over some blocks: the rows that are kept as Parquet, the others into the quarantine. In a worker."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from modelyard.datasets.ledger import quarantine_line
from modelyard.datasets.outcome import Rejection
from modelyard.datasets.pipeline.plan import Plan, load_plan
from modelyard.datasets.pipeline.spool import block_file, gone_file, open_table
from modelyard.datasets.report.statistics import Statistics
from modelyard.datasets.rows import REJECTED, ROLES, Rows
from modelyard.datasets.schema import rows_of
from modelyard.datasets.splits import SPLITS

# About 32 MB of raw rows: enough for a good row group; a worker holds some four times as much meanwhile.
BLOCKS_PER_PART = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """A row that a step over all rows let go: its number in its block, and why."""

    row: int
    step: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PartTask:
    """Some blocks for a worker. `splits` has, by block, each row's split in SPLITS, -1 where it goes."""

    plan: Path
    out: Path
    number: int
    blocks: list[int]
    splits: list[npt.NDArray[np.int8]]
    gone: list[list[Gone]]


def write_part(task: PartTask) -> Statistics:
    """Write a part of every split, and what went. Returns what the report tells about the rows that are kept."""
    plan = load_plan(task.plan)
    tables = [open_table(block_file(plan.folder, number)) for number in task.blocks]
    statistics = Statistics()
    for number, split in enumerate(SPLITS):
        chosen = zip(tables, task.splits, strict=True)
        kept = pa.concat_tables([table.filter(pa.array(splits == number)) for table, splits in chosen])
        if len(kept):
            _write_parquet(task.out / f"{split}-{task.number:05d}.parquet", kept)
            statistics.add_rows(split, rows_of(kept), kept["digest"], answers_are_labels=plan.has_labels)
    with gone_file(plan.folder, task.number).open("wb") as file:
        for table, gone in zip(tables, task.gone, strict=True):
            lost = zip(gone, rejections(plan, table, gone), strict=True)
            file.writelines(quarantine_line(one.step, row, is_masked=plan.is_masked) for one, row in lost)
    return statistics


def _write_parquet(path: Path, table: pa.Table) -> None:
    """One row group. Texts and digests hardly repeat, so a dictionary of them would only cost time."""
    pq.write_table(
        table,
        path,
        compression="snappy",
        use_dictionary=["messages.list.element.role", "source", "label"],
        write_statistics=["line"],
        row_group_size=len(table),
    )


def rejections(plan: Plan, table: pa.Table, gone: list[Gone]) -> Iterator[Rejection]:
    """The rows of a block that go, with their texts as they were prepared."""
    rows = table.take(pa.array([one.row for one in gone], pa.int64()))
    places = zip(rows["source"].to_pylist(), rows["line"].to_pylist(), strict=True)
    for one, (source, line), text in zip(gone, places, _texts(rows_of(rows)), strict=True):
        found = Rejection(source=source, line=line, reason=one.reason, raw=text)
        yield found if plan.is_masked else plan.covered(found)


def _texts(rows: Rows) -> Iterator[str]:
    """Each conversation as JSON: {"messages": [...]}, in a preference pair with "rejected"."""
    turns = list(zip(rows.roles.tolist(), rows.parts.tolist(), rows.turns.to_list(), strict=True))
    bounds = rows.bounds.tolist()
    encode = msgspec.json.Encoder().encode
    for begin, end in pairwise(bounds):
        told = {"messages": [_turn(role, text) for role, part, text in turns[begin:end] if part != REJECTED]}
        worse = [_turn(role, text) for role, part, text in turns[begin:end] if part == REJECTED]
        yield encode({**told, "rejected": worse} if worse else told).decode()


def _turn(role: int, text: str) -> dict[str, str]:
    return {"role": ROLES[role], "content": text}
