"""What a gateway serves and how it is: read from its address, or from its files where no gateway runs."""

import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import InvalidInput, NotFound, Unavailable

if TYPE_CHECKING:
    from modelyard.ports.routes import Service

_PREFIX = "modelyard_gateway_"
_LINE = re.compile(rf"^{_PREFIX}(\w+?)(?:\{{(.*)\}})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
# What is worth a line of its own, where it is not 0.
_NUMBERS = {
    "journal_backlog": "journal lines waiting to be written",
    "journal_lost_total": "journal lines given up",
    "journal_errors_total": "journal writes that failed",
    "table_broken": "1 while the newest route table could not be taken",
    "table_errors_total": "route tables not taken",
}
Sample = tuple[str, dict[str, str], float]


def samples_of(page: str) -> list[Sample]:
    """The samples of a page of metrics, without their prefix."""
    return [(name, dict(_LABEL.findall(labels)), float(value)) for name, labels, value in _LINE.findall(page)]


def status_at(url: str) -> dict[str, Any]:
    """What a running gateway says of itself. Raises: Unavailable where none answers."""
    import httpx

    base = url.rstrip("/").removesuffix("/v1")
    if not base.startswith(("http://", "https://")):
        raise InvalidInput(f"'{url}' is no address", expected="one such as http://127.0.0.1:8700")
    try:
        with httpx.Client(timeout=5.0, trust_env=False) as client:
            ready, page = client.get(f"{base}/ready"), client.get(f"{base}/metrics")
    except httpx.HTTPError as error:
        raise Unavailable(
            f"no gateway answers there: {type(error).__name__}: {error}",
            fix="check that it runs and that the address and port are right",
        ) from error
    if page.status_code != httpx.codes.OK or _PREFIX not in page.text:
        raise Unavailable(
            f"what answers there is no gateway: /metrics gave status {page.status_code}",
            expected="a page of metrics whose names begin with modelyard_gateway_",
            fix="give the address that callers use, without a path",
        )
    return status_of(ready.status_code == httpx.codes.OK, samples_of(page.text))


def status_of(ready: bool, samples: list[Sample]) -> dict[str, Any]:
    """The status in a gateway's own numbers."""
    numbers = {name: value for name, labels, value in samples if not labels}
    services: dict[str, dict[str, Any]] = defaultdict(_no_traffic)
    for name, labels, value in samples:
        if "service" in labels:
            _add(services[labels["service"]], name, labels, value)
    return {
        "ready": ready,
        "table_version": int(numbers.get("table_version", 0)),
        "troubles": {text: numbers[name] for name, text in _NUMBERS.items() if numbers.get(name)},
        "services": dict(sorted(services.items())),
    }


def _no_traffic() -> dict[str, Any]:
    return {"requests": 0, "errors": 0, "in_flight": 0, "waiting": 0, "replicas": {}}


def _add(found: dict[str, Any], name: str, labels: dict[str, str], value: float) -> None:
    counted = {"requests_total": "requests", "errors_total": "errors", "in_flight": "in_flight"}
    if name in counted:
        found[counted[name]] += int(value)
    elif name == "queue_waiting":
        found["waiting"] += int(value)
    elif name == "replica_state" and value:
        found["replicas"][f"{labels['variant']}/{labels['replica']}"] = labels["state"]


def status_in(table: Path) -> dict[str, Any]:
    """What a route table's file says, and what is stopped beside it. Raises: NotFound, Corrupt."""
    from modelyard.core.clock import iso
    from modelyard.ports.kills import FILE_NAME, decode_kills
    from modelyard.ports.routes import decode_route_table

    try:
        routes = decode_route_table(table.read_bytes())
    except FileNotFoundError:
        raise NotFound(f"there is no route table at {table}", fix="`modelyard up` publishes one") from None
    file = table.with_name(FILE_NAME)
    kills = decode_kills(file.read_bytes()).kills if file.exists() else ()
    return {
        "table_version": routes.version,
        "created": iso(routes.created_ms),
        "keys": len(routes.keys),
        "tenants": [tenant.name for tenant in routes.tenants],
        "services": {service.name: _served(service) for service in routes.services},
        "kills": [{"kind": kill.kind, "name": kill.name, "reason": kill.reason} for kill in kills],
    }


def _served(service: "Service") -> dict[str, Any]:
    return {
        "champion": service.champion.ref,
        "challenger": service.challenger.ref if service.challenger else "",
        "challenger_percent": service.weight_bp / 100,
        "shadow": service.shadow,
        "variants": {variant.name: variant.ref for variant in service.variants},
    }
