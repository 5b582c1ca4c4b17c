"""A project with real stores in a folder of its own, and releases that passed or failed their gate."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.adapters.blobs.store import FsspecBlobs
from modelyard.adapters.compute.local import LocalCompute
from modelyard.adapters.records.store import open_records
from modelyard.adapters.tracking.none import NoTracker
from modelyard.ports.workers import Inline
from modelyard.project.loading import parse_project
from modelyard.project.model import Project
from modelyard.workflows.tools import Tools

PROJECT = """\
project: shop
datasets:
  messages: {path: raw.jsonl, answer: "{intent}"}
recipes:
  standard: {base: base}
suites:
  held-out: {dataset: messages}
policies:
  careful: {min: {exact_match: 0.8}, min_rows: 10, parity: false}
rollouts:
  quick:
    steps: [{shadow: {min_samples: 20}}, {canary: {weight: "50%", min_samples: 20}}]
    margin: 0.05
services:
  support:
    dataset: messages
    recipe: standard
    suite: held-out
    policy: careful
    rollout: quick
    price: {input: "0.05", output: "0.20"}
"""


@pytest.fixture
def project() -> Project:
    return parse_project(PROJECT)


@pytest.fixture
def tools(tmp_path: Path) -> Iterator[Tools]:
    state = tmp_path / ".modelyard"
    records = open_records(f"sqlite:///{state / 'records.db'}")
    yield Tools(
        records=records,
        blobs=FsspecBlobs(str(state / "blobs"), state / "cache"),
        tracker=NoTracker(),
        compute=LocalCompute(),
        workers=Inline(),
        actor="ada",
        owner="olga",
        root=tmp_path,
        state=state,
        bases={},
    )
    records.close()
