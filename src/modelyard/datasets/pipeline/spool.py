"""What is left of the blocks between the two passes: their keys as columns on disk, their rows as Arrow files.

Rows are named by their place, a number from 0 over all blocks in their order. Memory holds one number a block.
"""

import shutil
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelyard.datasets.texts import Ints


class Column:
    """A column of numbers that grows on disk. `shape` is that of one row's value."""

    def __init__(self, path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...] = ()) -> None:
        self._path = path
        self._dtype = np.dtype(dtype)
        self._shape = shape
        self._file = path.open("wb")

    def append(self, values: npt.NDArray[Any]) -> None:
        """Add the values of more rows."""
        self._file.write(np.ascontiguousarray(values, self._dtype).tobytes())

    def load(self) -> npt.NDArray[Any]:
        """All values, in memory. Shape: (rows, *shape)."""
        self._file.flush()
        return np.fromfile(self._path, self._dtype).reshape(-1, *self._shape)

    def mapped(self) -> npt.NDArray[Any]:
        """All values, read from the disk as they are looked at. Shape: (rows, *shape)."""
        self._file.flush()
        if not self._path.stat().st_size:
            return np.zeros((0, *self._shape), self._dtype)
        # As a plain array: looking up one value of a memmap costs as much as a hundred of an array.
        return np.asarray(np.memmap(self._path, self._dtype, "r")).reshape(-1, *self._shape)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


def block_file(folder: Path, number: int) -> Path:
    """Where the rows of a block lie."""
    return folder / f"block-{number:06d}.arrow"


def rejected_file(folder: Path, number: int) -> Path:
    """Where the rows lie that the row steps rejected of a block."""
    return folder / f"block-{number:06d}.rejected.jsonl"


def gone_file(folder: Path, number: int) -> Path:
    """Where the rows lie that the steps over all rows let go of a part."""
    return folder / f"part-{number:05d}.rejected.jsonl"


def join_quarantine(folder: Path, path: Path) -> None:
    """All rejected rows in one file: those of the row steps first, each kind in the order of the sources."""
    with path.open("wb") as whole:
        for piece in (*sorted(folder.glob("block-*.rejected.jsonl")), *sorted(folder.glob("part-*.rejected.jsonl"))):
            with piece.open("rb") as file:
                shutil.copyfileobj(file, whole)


def write_table(path: Path, table: pa.Table) -> None:
    """Leave the rows of a block where they can be looked into without being read whole."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def open_table(path: Path) -> pa.Table:
    """The rows of a block, over the memory of the disk's cache."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


class Places:
    """Which block and which row of it stands at a place."""

    def __init__(self, num_rows: list[int]) -> None:
        self.starts: Ints = np.concatenate([[0], np.cumsum(num_rows)]).astype(np.int64)
        self._starts: list[int] = self.starts.tolist()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def block_of(self, place: int) -> int:
        """The block that holds a place."""
        return bisect_right(self._starts, place) - 1

    def by_block(self, places: Ints) -> Iterator[tuple[int, Ints]]:
        """Rising places as (block, rows of that block)."""
        blocks = np.searchsorted(self.starts, places, side="right") - 1
        numbers, begins = np.unique(blocks, return_index=True)
        for number, part in zip(numbers.tolist(), np.split(places, begins[1:]), strict=True):
            yield number, part - self.starts[number]
