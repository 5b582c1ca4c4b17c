"""A dataset's rows on disk: the parts of each split. Knows nothing about how they were made."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from modelyard.core.errors import NotFound
from modelyard.datasets.schema import examples
from modelyard.datasets.splits import SPLITS
from modelyard.ports.dataset import Example


def parts(folder: Path, split: str) -> list[Path]:
    """The files of a split, in the order of its rows. A split without rows has none."""
    if split not in SPLITS:
        raise NotFound(f"there is no split '{split}' in {folder}", expected=", ".join(SPLITS))
    return sorted(folder.glob(f"{split}-*.parquet"))


def read_tables(folder: Path, split: str) -> Iterator[pa.Table]:
    """The rows of a split, a part at a time."""
    return (pq.read_table(part) for part in parts(folder, split))


def read_split(folder: Path, split: str) -> list[Example]:
    """The rows of a split. Raises: NotFound where a dataset has none of that name."""
    return [example for table in read_tables(folder, split) for example in examples(table)]
