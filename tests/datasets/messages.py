"""Short raw files for the tests of this room, and one preparation of them."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.preparation import Prepared, prepare
from modelyard.datasets.splits import split_key, split_of

ONE_SPLIT = {"train": 1.0}


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def labelled(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
    """Rows of text and label."""
    return [{"text": text, "label": label} for text, label in pairs]


def prepare_file(path: Path, **settings: Any) -> tuple[Prepared, Path]:
    """Prepare a file beside it, all in one split unless asked otherwise; the result and its folder."""
    out = path.parent / f"{path.name}.out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    config = DatasetConfig(path=path.name, **{"splits": ONE_SPLIT, **settings})
    return prepare("messages", config, root=path.parent, out=out), out


def quarantine(out: Path) -> list[dict[str, Any]]:
    """The quarantined rows of a result."""
    return [json.loads(line) for line in (out / "quarantine.jsonl").read_text("utf-8").splitlines()]


def text_in(split: str, number: int = 0) -> str:
    """A text whose own words put it into a split; another number gives another text."""
    found = (text for n in range(10_000) if split_of(split_key(text := f"question {n} about nothing")) == split)
    for _ in range(number):
        next(found)
    return next(found)
