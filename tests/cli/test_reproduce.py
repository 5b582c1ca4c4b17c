"""`modelyard reproduce` and `modelyard cost` on a tiny project, its training in real processes."""

import json
import re
from pathlib import Path

import pytest

from tests.cli.inside import inside
from tests.models import make_tiny_model

PROJECT = """\
project: shop
owner: olga
datasets:
  messages: {path: raw.jsonl, answer: "{intent}"}
recipes:
  standard: {base: tiny, sequence_length: 128, max_steps: 6, rank: 4, threads: 1}
compute:
  prices: {spot: "0.90"}
  pricing: spot
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_tiny_model(tmp_path / "tiny")
    (tmp_path / "modelyard.yaml").write_text(PROJECT)
    rows = [{"text": f"question {n} about {'ab'[n % 2] * (n % 7 + 1)}", "intent": "ab"[n % 2]} for n in range(60)]
    (tmp_path / "raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.mark.long
def test_a_run_is_reproduced_and_paid_for(folder: Path) -> None:
    assert inside(folder, "data", "prepare", "messages").returncode == 0
    run = json.loads(inside(folder, "train", "standard", "messages", "--json").stdout)
    checked = inside(folder, "reproduce", "standard", "--check-only")
    assert (checked.returncode, "can be trained again here" in checked.stdout) == (0, True)
    done = inside(folder, "reproduce", run["id"], "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["verdict"], found["run"]) == ("identical", run["id"])
    again = inside(folder, "reproduce", run["id"], "--against", found["again"])
    assert again.stdout.startswith(f"identical: {found['again']} against {run['id']}")

    paid = json.loads(inside(folder, "cost", "--by", "owner", "--json").stdout)
    (total,) = paid["totals"]
    assert (total["key"], total["runs"], total["cost_nanousd"] > 0) == ("olga", 2, True)
    assert re.search(r"standard +\$0\.\d+ +2 ", inside(folder, "cost").stdout)
    assert json.loads(inside(folder, "cost", "--since", "2999-01-01", "--json").stdout)["totals"] == []

    (folder / "tiny" / "chat_template.jinja").write_text("{{ messages }}")
    other = inside(folder, "reproduce", run["id"], "--check-only")
    assert other.returncode == 3
    assert "the base 'tiny' is another one" in other.stdout
    assert "template" in other.stdout
