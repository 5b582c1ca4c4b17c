"""Fixtures: an engine that answers, and a gateway in front of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.ports.serving import Timeouts
from tests.gateway.harness import Yard, serving
from tests.gateway.upstream import Engine


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def engine_url(engine: Engine) -> Iterator[str]:
    with serving(engine) as url:
        yield url


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    """A gateway with no table yet."""
    with Yard(tmp_path).open() as yard:
        yield yard


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Yard]:
    """A gateway with short time limits."""
    with Yard(tmp_path / "hasty").open() as yard:
        yard.timeouts = Timeouts(connect_s=5, first_token_s=0.7, between_tokens_s=0.5)
        yield yard
