"""A project folder for commands to work in."""

import json
from pathlib import Path

import pytest

PROJECT = """\
project: shop
datasets:
  messages: {path: raw.jsonl, answer: "{intent}"}
  missing: {path: nowhere.jsonl}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "modelyard.yaml").write_text(PROJECT)
    rows = [
        {"text": f"question number {n} about {'ab'[n % 2] * (n % 7 + 1)}", "intent": "ab"[n % 2]} for n in range(80)
    ]
    (tmp_path / "raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path
