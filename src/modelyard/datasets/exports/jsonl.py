"""A dataset as JSON lines."""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from modelyard.core.errors import InvalidInput
from modelyard.core.ids import new_id
from modelyard.datasets.exports.rows import SHAPES
from modelyard.datasets.files import read_tables
from modelyard.datasets.schema import examples


def export_jsonl(folder: Path, out: Path, splits: Sequence[str], shape: str = "chat") -> int:
    """Write the rows of some splits, one a line, and tell how many. The file appears whole or not at all.

    Raises: InvalidInput for a shape that is not known, or that a row does not have, or where `out` is a folder.
    """
    if shape not in SHAPES:
        raise InvalidInput(f"'{shape}' is no shape to export", expected=", ".join(SHAPES))
    if out.is_dir():
        raise InvalidInput(f"{out} is a folder", expected="a file to write", fix=f"--to {out / 'rows.jsonl'}")
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = out.with_name(f".{out.name}.{new_id()}")
    encode = msgspec.json.Encoder().encode
    num_rows = 0
    try:
        with scratch.open("xb") as file:
            for table in (table for split in splits for table in read_tables(folder, split)):
                file.writelines(encode(SHAPES[shape](example)) + b"\n" for example in examples(table))
                num_rows += len(table)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(out)
    finally:
        scratch.unlink(missing_ok=True)
    return num_rows
