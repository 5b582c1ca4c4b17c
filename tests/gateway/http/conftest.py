"""Fixtures: a server that takes two connections."""

from collections.abc import Iterator

import pytest

from tests.gateway.http.harness import Live, living


@pytest.fixture
def live_of_two() -> Iterator[Live]:
    with living(max_connections=2) as live:
        yield live
