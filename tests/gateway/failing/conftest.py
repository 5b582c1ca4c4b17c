"""Fixtures: engines made of bytes, and a gateway that is looked into."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.failing.engines import RawEngine, raw_engine
from tests.gateway.failing.live import Live


@pytest.fixture
def raw() -> Iterator[RawEngine]:
    with raw_engine() as engine:
        yield engine


@pytest.fixture
def other() -> Iterator[RawEngine]:
    with raw_engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One gateway for a file's tests."""
    with Live(tmp_path_factory.mktemp("live")).open() as gateway:
        yield gateway


@pytest.fixture
def live(gateway: Live) -> Iterator[Live]:
    """The gateway, with nothing in its journal; nothing may be left in it after the test."""
    for path in gateway.journal.glob("*.jsonl"):
        with path.open("r+b") as file:
            file.truncate(0)
    yield gateway
    assert gateway.settled()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Live]:
    """A gateway that nothing was asked before: its budgets are whole."""
    with Live(tmp_path).open() as gateway:
        yield gateway
        assert gateway.settled()
