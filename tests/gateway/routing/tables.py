"""Small services for the tests of routing."""

from typing import Any

from modelyard.gateway.routing.choice import Chooser
from modelyard.gateway.routing.plan import Plan
from modelyard.gateway.routing.rules import Facts
from modelyard.ports.routes import RouteTable, Service, Variant


def variant(name: str = "", **changes: Any) -> Variant:
    label = name or "champion"
    fields = {"release": f"sha256:{label}", "ref": f"{label}@1", "engine_url": f"http://{label}:8000", "model": "m"}
    return Variant(name=name, **{**fields, **changes})


def service(**changes: Any) -> Service:
    return Service(**{"name": "support", "champion": variant(), **changes})


def table(*services: Service) -> RouteTable:
    return RouteTable(version=1, created_ms=0, services=services)


def chooser(previous: Plan | None = None, **changes: Any) -> Chooser:
    return Plan(table(service(**changes)), previous).services["support"]


def facts(unit: str = "u", **changes: Any) -> Facts:
    return Facts(unit=unit, **changes)
