"""The rows of a Parquet file, some at a time."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from modelyard.core.errors import DataInvalid
from modelyard.datasets.sources.block import SourceFile
from modelyard.datasets.sources.opening import CHUNK_BYTES, Tap, Truncated, is_address, open_raw

_MOST_ROWS = 65_536
# Arrow reads a column piece by piece, where it would else hold a whole row group's.
_BUFFER_BYTES = 1 << 18


class ParquetRows:
    """A row's number and a batch of rows that begins with it. The tap follows, so that every byte is hashed.

    The footer stands last, so the file is read in two ways; what lies elsewhere is fetched to a temporary file first.
    """

    def __init__(self, tap: Tap, source: SourceFile, block_bytes: int) -> None:
        self._tap = tap
        self._source = source
        self._block_bytes = block_bytes
        self.num_lines = 0

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """Raises: Truncated where the file is damaged; DataInvalid where two columns have one name."""
        with ExitStack() as stack:
            file = stack.enter_context(self._fetched() if is_address(self._source.url) else open_raw(self._source.url))
            try:
                parquet = stack.enter_context(pq.ParquetFile(pa.PythonFile(file, "r"), buffer_size=_BUFFER_BYTES))
                self._check_columns(parquet.schema_arrow.names)
                for group in range(parquet.num_row_groups):
                    yield from self._group(parquet, group)
            except (pa.ArrowException, EOFError) as error:
                raise Truncated(str(error)) from error
            except OSError as error:
                if error.errno is not None:
                    raise
                raise Truncated(str(error)) from error

    def _group(self, parquet: Any, group: int) -> Iterator[tuple[int, Any]]:
        told = parquet.metadata.row_group(group)
        if not told.num_rows:
            return
        row_bytes = max(1, told.total_byte_size // told.num_rows)
        num_rows = min(_MOST_ROWS, max(1, self._block_bytes // row_bytes))
        for batch in parquet.iter_batches(num_rows, row_groups=[group]):
            yield self.num_lines + 1, batch
            self.num_lines += batch.num_rows
        columns = [told.column(place) for place in range(told.num_columns)]
        self._tap.read_up_to(max((one.data_page_offset + one.total_compressed_size for one in columns), default=0))

    def _check_columns(self, names: list[str]) -> None:
        for name in names:
            if names.count(name) > 1:
                raise DataInvalid(
                    f"{self._source.name} has two columns '{name}'", fix="give each column a name of its own"
                )

    def _fetched(self) -> BinaryIO:
        file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
        while data := self._tap.read(CHUNK_BYTES):
            file.write(data)
        file.seek(0)
        return file
