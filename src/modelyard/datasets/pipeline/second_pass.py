"""The second pass: what is left of the blocks written as the dataset's files."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelyard.core.digests import canonical_json
from modelyard.datasets.index import Drops
from modelyard.datasets.ledger import MAX_EXAMPLES, StepCount, example
from modelyard.datasets.outcome import cause
from modelyard.datasets.pipeline.first_pass import FirstPass, Progress
from modelyard.datasets.pipeline.parts import BLOCKS_PER_PART, Gone, PartTask, rejections, write_part
from modelyard.datasets.pipeline.plan import Plan
from modelyard.datasets.pipeline.spool import block_file, join_quarantine, open_table
from modelyard.datasets.report.statistics import Statistics
from modelyard.datasets.splits import SPLITS
from modelyard.ports.workers import Workers

Splits = npt.NDArray[np.int8]
StepDrops = tuple[str, Drops]
GONE = -1
_DIGESTS_AT_ONCE = 1 << 20


class SecondPass:
    """Writes the parts of every split, and the quarantine. `splits` tells each row's split, -1 for one that goes."""

    def __init__(self, first: FirstPass, plan: Plan, splits: Splits, drops: Sequence[StepDrops]) -> None:
        self._first = first
        self._plan = plan
        self._splits = splits
        self._drops = drops

    def run(self, out: Path, workers: Workers, progress: Progress) -> Statistics:
        """Write all files but the report. Returns what the report tells about the rows that are left."""
        statistics = Statistics()
        num_parts = -(-len(self._first.num_rows) // BLOCKS_PER_PART)
        for done, part in enumerate(workers.map(write_part, self._tasks(out)), start=1):
            statistics.merge(part)
            progress("writing", done, num_parts)
        join_quarantine(self._plan.folder, out / "quarantine.jsonl")
        return statistics

    def rows_digest(self) -> tuple[str, dict[str, int]]:
        """The digest over the rows of every split in their order, and how many rows each has."""
        digests = self._first.digests.mapped()
        running = hashlib.sha256()
        num_rows = {}
        for number, split in enumerate(SPLITS):
            places = np.flatnonzero(self._splits == number)
            num_rows[split] = len(places)
            running.update(canonical_json({"split": split, "rows": len(places)}) + b"\n")
            for begin in range(0, len(places), _DIGESTS_AT_ONCE):
                running.update(digests[places[begin : begin + _DIGESTS_AT_ONCE]].tobytes())
        return "sha256:" + running.hexdigest(), num_rows

    def counts(self) -> Iterator[StepCount]:
        """What each step over all rows did."""
        rows_in = len(self._splits)
        for step, drops in self._drops:
            count = StepCount(step=step, rows_in=rows_in, rows_out=rows_in - len(drops))
            for number, rows in enumerate(np.bincount(drops.cause, minlength=len(drops.causes)).tolist()):
                if rows:
                    count.causes[cause(drops.causes[number])] += rows
            count.examples = self._examples(step, drops)
            rows_in = count.rows_out
            yield count

    def _tasks(self, out: Path) -> Iterator[PartTask]:
        starts = self._first.places.starts
        for number, begin in enumerate(range(0, len(starts) - 1, BLOCKS_PER_PART)):
            blocks = list(range(begin, min(begin + BLOCKS_PER_PART, len(starts) - 1)))
            yield PartTask(
                plan=self._plan.path,
                out=out,
                number=number,
                blocks=blocks,
                splits=[self._splits[starts[block] : starts[block + 1]] for block in blocks],
                gone=[self._gone(int(starts[block]), int(starts[block + 1])) for block in blocks],
            )

    def _gone(self, begin: int, end: int) -> list[Gone]:
        """The rows between two places that steps let go, in the order of the steps."""
        return [
            Gone(row=int(drops.places[number]) - begin, step=step, reason=drops.reason(number, self._first.where))
            for step, drops in self._drops
            for number in range(*np.searchsorted(drops.places, (begin, end)).tolist())
        ]

    def _examples(self, step: str, drops: Drops) -> list[dict[str, object]]:
        examples = []
        for number, place in enumerate(drops.places[:MAX_EXAMPLES].tolist()):
            block = self._first.places.block_of(place)
            row = place - int(self._first.places.starts[block])
            gone = Gone(row=row, step=step, reason=drops.reason(number, self._first.where))
            table = open_table(block_file(self._plan.folder, block))
            examples += [example(one) for one in rejections(self._plan, table, [gone])]
        return examples
