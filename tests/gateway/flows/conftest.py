"""Fixtures: an engine that can do more, and services in front of it."""

from typing import Any

import pytest

from modelyard.ports.routes import Service
from tests.gateway.flows.engine import Rich
from tests.gateway.harness import variant


@pytest.fixture
def engine() -> Rich:
    return Rich()


def service(url: str, **changes: Any) -> Service:
    fields: dict[str, Any] = {"name": "support", "champion": variant("champ", url, engine="triton"), **changes}
    return Service(**fields)
