"""The first pass: every block of every source through the row steps, and what the coordinator keeps of each."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from modelyard.datasets.collection.stream import StreamReader
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.duplicates.bands import BandStore
from modelyard.datasets.index import Hashes, Index
from modelyard.datasets.ledger import Ledger
from modelyard.datasets.pipeline.blocks import BlockResult, BlockTask, work_block
from modelyard.datasets.pipeline.splitting import cut, stratified
from modelyard.datasets.pipeline.spool import Column, Places
from modelyard.datasets.report.statistics import Statistics
from modelyard.datasets.sources.block import Block, SourceFile
from modelyard.datasets.sources.reader import SourceReader
from modelyard.datasets.texts import Ints
from modelyard.ports.dataset import Source
from modelyard.ports.workers import Workers

Progress = Callable[[str, int, int], None]


class BlockFeed:
    """The blocks of the sources, one after the other. At its end, `parents` says what exactly was read.

    `collected` are rows that come from no file.
    """

    def __init__(self, sources: Sequence[SourceFile], progress: Progress, collected: StreamReader | None) -> None:
        self._sources = sources
        self._progress = progress
        self._collected = collected
        self.num_bytes = sum(source.num_bytes for source in sources)
        self.parents: list[Source] = []

    def __iter__(self) -> Iterator[Block]:
        done = 0
        for source in self._sources:
            reader = self._collected or SourceReader(source)
            for block in reader:
                yield block
                self._progress("reading", done + reader.num_bytes_read, self.num_bytes)
            self.parents.append(reader.source())
            done += source.num_bytes


class FirstPass:
    """What is known of the rows that the row steps kept, block after block, in columns on disk."""

    def __init__(self, folder: Path, config: DatasetConfig, steps: Sequence[str]) -> None:
        self.ledger = Ledger(steps)
        self.statistics = Statistics()
        self.sources: list[str] = []
        self.num_rows: list[int] = []
        self.digests = Column(folder / "digests.column", np.uint8, (32,))
        self.lines = Column(folder / "lines.column", np.int64)
        self._config = config
        self._prompt_key = Column(folder / "prompts.column", np.uint64, (2,))
        self._answer_key = Column(folder / "answers.column", np.uint64, (2,))
        self._id_key = Column(folder / "ids.column", np.uint64)
        self._num_chars = Column(folder / "chars.column", np.int64)
        self._split_hash = Column(folder / "splits.column", np.uint64)
        self._strata = Column(folder / "strata.column", np.int64)
        self._labels: dict[str, int] = {}
        self.bands = BandStore(folder)

    def run(self, plan: Path, blocks: Iterable[Block], workers: Workers) -> None:
        """Take every block through the row steps."""
        for result in workers.map(work_block, self._tasks(plan, blocks)):
            self._add(result)

    def close(self) -> None:
        """Give the files back."""
        columns = (self.digests, self.lines, self._prompt_key, self._answer_key, self._id_key, self._num_chars,
                   self._split_hash, self._strata)  # fmt: skip
        for column in (*columns, self.bands):
            column.close()

    @cached_property
    def places(self) -> Places:
        """Where the rows of the blocks lie, once all are there."""
        return Places(self.num_rows)

    def index(self) -> Index:
        """The rows as keys, with the split of each."""
        hashes: Hashes = self._split_hash.load()
        if self._config.stratify:
            names = list(self._labels)
            hashes = stratified(hashes, self._strata.load(), names, self._config.splits, self._config.salt)
        return Index(
            prompt_key=self._prompt_key.load(),
            answer_key=self._answer_key.load(),
            id_key=self._id_key.load(),
            split=cut(hashes, self._config.splits),
            num_chars=self._num_chars.load(),
        )

    def hashes(self) -> Hashes:
        """The first 64 bits of each row's digest. Shape: (rows,)."""
        return np.ascontiguousarray(self.digests.mapped()[:, :8]).view(">u8")[:, 0].astype(np.uint64)

    def where(self, place: int) -> str:
        """File and line of a row, as reasons name it."""
        return f"{self.sources[self.places.block_of(place)]}:{self._line_of[place]}"

    @cached_property
    def _line_of(self) -> Ints:
        return self.lines.mapped()

    def _tasks(self, plan: Path, blocks: Iterable[Block]) -> Iterator[BlockTask]:
        for number, block in enumerate(blocks):
            self.sources.append(block.source.name)
            yield BlockTask(plan=plan, number=number, block=block)

    def _add(self, result: BlockResult) -> None:
        self.ledger.merge(result.counts)
        self.statistics.merge(result.statistics)
        self.num_rows.append(len(result.lines))
        self.digests.append(np.frombuffer(result.digests, np.uint8).reshape(-1, 32))
        self.lines.append(result.lines)
        self._prompt_key.append(result.keys.prompt_key)
        self._answer_key.append(result.keys.answer_key)
        self._id_key.append(result.keys.id_key)
        self._num_chars.append(result.keys.num_chars)
        self._split_hash.append(result.split_hash)
        self._strata.append(self._numbered(result.labels, result.strata))
        self.bands.append(result.keys.bands)

    def _numbered(self, labels: list[str], strata: Ints) -> Ints:
        """The labels of a block by their numbers over all blocks, in the order in which they are first met."""
        if not labels:
            return strata
        numbers = np.array([self._labels.setdefault(label, len(self._labels)) for label in labels], np.int64)
        return numbers[strata]
