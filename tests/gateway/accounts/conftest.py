"""Fixtures: a gateway whose accounts can be read, and a redis-server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.accounts.harness import Accounts
from tests.gateway.limits.conftest import redis_process, redis_server

__all__ = ["redis_process", "redis_server"]


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Accounts]:
    with Accounts(tmp_path).open(drain_s=1.0) as live:
        yield live
