"""A mishap as it happens: an export in which the column of the labels slipped by some rows."""

import json
from collections.abc import Sequence
from pathlib import Path

from modelyard.core.files import write_atomically
from modelyard.ports.dataset import Example


def write_bad_export(examples: Sequence[Example], path: Path) -> None:
    """Write examples as raw rows (`text`, `intent`), each with the answer of another row.

    By a third of the file: exports are often sorted by label, so a few rows away stands the same one.
    """
    slipped_by = len(examples) // 3 or 1
    rows = [
        {"text": example.prompt[-1].content, "intent": examples[(number + slipped_by) % len(examples)].answer}
        for number, example in enumerate(examples)
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_atomically(path, lines.encode())
