"""A source as blocks of rows, read once from begin to end."""

from collections.abc import Iterable, Iterator
from pickle import PickleBuffer

from modelyard.core.errors import DataInvalid
from modelyard.datasets.sources.block import Block, SourceFile
from modelyard.datasets.sources.csv_records import CsvReader
from modelyard.datasets.sources.json_array import ElementBlocks
from modelyard.datasets.sources.lines import LineBlock, LineBlocks
from modelyard.datasets.sources.opening import Tap, Truncated, breaks_off, chunks, public
from modelyard.datasets.sources.parquet import ParquetRows
from modelyard.ports.dataset import Source

BLOCK_BYTES = 8 << 20


class SourceReader:
    """The blocks of a source. After the last one, `source()` says what exactly was read."""

    def __init__(self, source: SourceFile) -> None:
        self._source = source
        self._read: Source | None = None
        self._tap: Tap | None = None
        self._cutter: LineBlocks | ElementBlocks | ParquetRows | None = None

    @property
    def num_bytes_read(self) -> int:
        """Bytes of the source, as it lies on disk, that were read so far."""
        return self._tap.num_bytes if self._tap else 0

    def __iter__(self) -> Iterator[Block]:
        """Raises: DataInvalid where the source cannot be read to its end, changes meanwhile, or holds no row."""
        is_empty = True
        try:
            with Tap(self._source) as self._tap:
                for block in self._blocks(self._tap):
                    is_empty = False
                    yield block
                self._read = self._tap.finish()
        except Truncated as error:
            raise breaks_off(self._source, error, self._cutter.num_lines if self._cutter else 0) from error
        except OSError as error:
            raise unreadable(self._source.name, error) from error
        if is_empty:
            raise DataInvalid(
                f"{self._source.name} holds no rows",
                expected="at least one row",
                fix="point `path` to files with rows",
            )

    def source(self) -> Source:
        """The source as it was read, by the digest of its bytes on disk."""
        if self._read is None:
            raise AssertionError("the blocks were not read to their end")
        return self._read

    def _blocks(self, tap: Tap) -> Iterator[Block]:
        if self._source.format == "parquet":
            return self._rows(tap)
        pieces = chunks(tap, self._source)
        if self._source.format == "json":
            return self._elements(pieces)
        self._cutter = LineBlocks(pieces, BLOCK_BYTES)
        if self._source.format in ("csv", "tsv"):
            return self._records(self._cutter)
        return self._lines(self._cutter)

    def _lines(self, blocks: Iterable[LineBlock]) -> Iterator[Block]:
        for block in blocks:
            if block.overlong or not block.data.isspace():
                yield Block(
                    source=self._source,
                    first_line=block.first_line,
                    payload=PickleBuffer(block.data),
                    overlong=tuple(block.overlong),
                )

    def _elements(self, pieces: Iterable[bytes]) -> Iterator[Block]:
        self._cutter = ElementBlocks(pieces, BLOCK_BYTES)
        for block in self._cutter:
            elements = block.elements
            first_line = int(elements.lines[0]) if len(elements.lines) else block.overlong[0][0]
            yield Block(source=self._source, first_line=first_line, payload=elements, overlong=block.overlong)

    def _records(self, blocks: Iterable[LineBlock]) -> Iterator[Block]:
        reader = CsvReader(self._source.name, self._source.delimiter or ",")
        for records in reader.blocks(blocks):
            first_line = int(records.places[2, 0])
            yield Block(source=self._source, first_line=first_line, payload=records, header=reader.header)

    def _rows(self, tap: Tap) -> Iterator[Block]:
        self._cutter = ParquetRows(tap, self._source, BLOCK_BYTES)
        for row, batch in self._cutter:
            yield Block(source=self._source, first_line=row, payload=batch)


def unreadable(name: str, error: OSError) -> DataInvalid:
    """The error for a source that the system does not let us read."""
    return DataInvalid(
        f"{name} cannot be read: {error.strerror or public(str(error))}",
        expected="a file that this user may read",
        fix="check the path and its permissions",
    )
