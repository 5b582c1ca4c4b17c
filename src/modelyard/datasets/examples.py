"""A dataset's rows on disk: one Parquet file a split, with a digest over all of them.

Knows nothing about where the rows come from.
"""

import hashlib
from pathlib import Path

import polars as pl

from modelyard.core.digests import canonical_json
from modelyard.core.errors import NotFound
from modelyard.datasets.splits import SPLITS
from modelyard.ports.dataset import Example, Message

_ROW_GROUP_ROWS = 65_536
_COLUMNS = ("id", "messages", "source", "line")


def chat_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Prompts and answers as canonical chat messages, in the order of the raw rows.

    Columns: id, messages (list of role and content), source, line. A row without an id is named by its content.
    """
    frame = frame.sort("row")
    user = pl.struct(role=pl.lit("user"), content=pl.col("prompt"))
    assistant = pl.struct(role=pl.lit("assistant"), content=pl.col("answer"))
    ids = [id or _content_id(prompt, answer) for id, prompt, answer in frame.select("id", "prompt", "answer").rows()]
    named = frame.with_columns(pl.Series("id", ids, dtype=pl.String), messages=pl.concat_list(user, assistant))
    return named.select(_COLUMNS)


def write_splits(frame: pl.DataFrame, folder: Path) -> tuple[str, dict[str, int]]:
    """Write every split of a frame and return the digest over all rows with the rows of each split."""
    running = hashlib.sha256()
    num_rows = {}
    for split in SPLITS:
        rows = chat_rows(frame.filter(pl.col("split") == split))
        running.update(canonical_json({"split": split, "rows": rows.height}) + b"\n")
        for row in rows.iter_rows():
            running.update(canonical_json(row) + b"\n")
        rows.write_parquet(folder / f"{split}.parquet", row_group_size=_ROW_GROUP_ROWS)
        num_rows[split] = rows.height
    return "sha256:" + running.hexdigest(), num_rows


def read_split(folder: Path, split: str) -> list[Example]:
    """The rows of a split. Raises: NotFound where the folder has none of that name."""
    path = folder / f"{split}.parquet"
    if not path.is_file():
        raise NotFound(f"there is no split '{split}' in {folder}", expected=", ".join(SPLITS))
    return [
        Example(id=id, messages=tuple(Message(**message) for message in messages), source=source, line=line)
        for id, messages, source, line in pl.read_parquet(path).select(_COLUMNS).iter_rows()
    ]


def _content_id(prompt: str, answer: str) -> str:
    return hashlib.sha256(canonical_json([prompt, answer])).hexdigest()[:16]
