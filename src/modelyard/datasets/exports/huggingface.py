"""A dataset as a folder that Hugging Face `datasets.load_from_disk` opens."""

import os
from collections.abc import Sequence
from pathlib import Path

from modelyard.core.errors import InvalidInput, MissingExtra
from modelyard.core.files import folder_atomically
from modelyard.datasets.exports.rows import SHAPES, natural_shape
from modelyard.datasets.files import read_split
from modelyard.datasets.splits import SPLITS

_INDEX = "dataset_dict.json"


def export_huggingface(folder: Path, out: Path, splits: Sequence[str] = SPLITS) -> dict[str, int]:
    """Write a `DatasetDict` and tell the rows of each split. The folder appears whole or not at all.

    Rows have the names that TRL knows: `messages`; `prompt`, `chosen`, `rejected`; `prompt`, `completion`, `label`;
    or `text`. Splits without rows are left out. An earlier export is replaced.
    Raises: InvalidInput where the folder holds anything else, which would be lost.
    """
    out = Path(os.path.abspath(out))
    _check_free(out)
    try:
        from datasets import Dataset, DatasetDict, disable_progress_bars
    except ModuleNotFoundError as error:
        raise MissingExtra("datasets", "training") from error
    disable_progress_bars()
    made = {}
    for split in splits:
        if rows := read_split(folder, split):
            write = SHAPES[natural_shape(rows[0])]
            made[split] = Dataset.from_list([write(row) for row in rows])
    with folder_atomically(out) as scratch:
        DatasetDict(made).save_to_disk(scratch)
    return {split: len(dataset) for split, dataset in made.items()}


def _check_free(out: Path) -> None:
    """Nothing is there, or an earlier export alone."""
    if not out.exists():
        return
    seen = {path.name for path in out.iterdir()} if out.is_dir() else {out.name}
    others = sorted(seen - {_INDEX, *SPLITS}) if _INDEX in seen else sorted(seen)
    if others:
        raise InvalidInput(
            f"{out} is there already and would be replaced as a whole: {', '.join(others[:5])}",
            expected="a new folder, or that of an earlier export",
            fix="choose another folder for --to",
        )
