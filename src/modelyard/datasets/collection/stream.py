"""Collected rows on their way into a preparation. They come straight from the records: no file holds them unmasked."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from pickle import PickleBuffer

import msgspec

from modelyard.core.errors import DataInvalid
from modelyard.datasets.collection.reasons import COLLECTING
from modelyard.datasets.ledger import StepCount
from modelyard.datasets.sources.block import Block, SourceFile
from modelyard.datasets.sources.lines import LineBlocks
from modelyard.datasets.sources.opening import CHUNK_BYTES
from modelyard.datasets.sources.reader import BLOCK_BYTES
from modelyard.ports.dataset import Source, Window


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """Rows from production. `lines` reads them, anew each time, as JSON lines and counts what it passes over.

    `num_bytes` is about as much as the lines will have; the window's number of interactions is that of the lines.
    """

    window: Window
    num_bytes: int
    lines: Callable[[Counter[str]], Iterator[bytes]]

    @property
    def source(self) -> SourceFile:
        """The rows by the name that they have as a source."""
        name = f"production:{self.window.service}"
        return SourceFile(name=name, url="", format="jsonl", detected_by="configuration", num_bytes=self.num_bytes)


class StreamReader:
    """The blocks of collected rows, read once from begin to end. See `SourceReader`, whose part it takes."""

    def __init__(self, collected: Collected) -> None:
        self._collected = collected
        self._hash = hashlib.sha256()
        self._passed_over: Counter[str] = Counter()
        self._num_rows = 0
        self.num_bytes_read = 0

    def __iter__(self) -> Iterator[Block]:
        """Raises: DataInvalid where no row is left of those that were found before."""
        source = self._collected.source
        for block in LineBlocks(self._pieces(), BLOCK_BYTES):
            yield Block(
                source=source,
                first_line=block.first_line,
                payload=PickleBuffer(block.data),
                overlong=tuple(block.overlong),
            )
        if not self._num_rows:
            raise DataInvalid(f"{source.name} holds no rows any more", fix="prepare again")

    def source(self) -> Source:
        """What exactly was read."""
        window = msgspec.structs.replace(self._collected.window, num_interactions=self._num_rows)
        digest = "sha256:" + self._hash.hexdigest()
        return Source(path=self._collected.source.name, digest=digest, num_bytes=self.num_bytes_read, window=window)

    def count(self) -> StepCount:
        """What was passed over and why, as a step before the reading. Nothing of it is quarantined."""
        return StepCount(
            step=COLLECTING,
            rows_in=self._num_rows + self._passed_over.total(),
            rows_out=self._num_rows,
            causes=self._passed_over,
        )

    def _pieces(self) -> Iterator[bytes]:
        for line in self._collected.lines(self._passed_over):
            self._hash.update(line)
            self._num_rows += 1
            self.num_bytes_read += len(line)
            for begin in range(0, len(line), CHUNK_BYTES):
                yield line[begin : begin + CHUNK_BYTES]
