"""Real records in a database file of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.adapters.records.store import SqlRecords, open_records


@pytest.fixture
def records(tmp_path: Path) -> Iterator[SqlRecords]:
    store = open_records(f"sqlite:///{tmp_path}/records.db")
    yield store
    store.close()
