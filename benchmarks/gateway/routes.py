"""The route tables that ours is measured with: keys, limits with reservation, a running canary, prices, hashes."""

import hashlib
from pathlib import Path

from modelyard.core.clock import now_ms
from modelyard.core.files import write_atomically
from modelyard.ports.limits import Limits
from modelyard.ports.routes import Key, Price, RouteTable, Service, Tenant, Variant, encode_route_table

# So high that no request is refused, but each is counted, reserved and settled.
AMPLE = Limits(
    requests_per_minute=1_000_000_000,
    burst=1_000_000,
    tokens_per_minute=1_000_000_000_000,
    concurrency=100_000,
    daily_nanousd=10**18,
    monthly_nanousd=10**18,
)
CHAMPION = Price(input_nanousd=150_000_000, output_nanousd=600_000_000)
CHALLENGER = Price(input_nanousd=100_000_000, output_nanousd=400_000_000)


def secret(tenant: int) -> str:
    """The API key of a tenant."""
    return f"sk-benchmark-{tenant:08d}"


def tenant_name(number: int) -> str:
    """What a tenant is called."""
    return f"tenant-{number:05d}"


def service_name(number: int) -> str:
    """What a service is called; the first has the name that every benchmark knows."""
    return "support" if number == 0 else f"support-{number:04d}"


def write(path: Path, upstream_port: int, *, tenants: int = 1, services: int = 1, version: int = 1) -> None:
    """Publish a table whose services all lead to one upstream, each with a canary at a quarter of its traffic."""
    url = f"http://127.0.0.1:{upstream_port}"
    table = RouteTable(
        version=version,
        created_ms=now_ms(),
        services=tuple(_service(number, url) for number in range(services)),
        keys=tuple(_key(number) for number in range(tenants)),
        tenants=tuple(Tenant(name=tenant_name(number), limits=AMPLE) for number in range(tenants)),
    )
    write_atomically(path, encode_route_table(table))


def _service(number: int, url: str) -> Service:
    name = service_name(number)
    champion = Variant(release="sha256:champion", ref="champion@1", engine_url=url, model="m@1", price=CHAMPION)
    challenger = Variant(release="sha256:challenger", ref="challenger@2", engine_url=url, model="m@2", price=CHALLENGER)
    return Service(
        name=name,
        champion=champion,
        challenger=challenger,
        weight_bp=2500,
        salt=name,
        rollout_id=f"rollout-{number}",
        body_policy="hash",
    )


def _key(number: int) -> Key:
    digest = hashlib.sha256(secret(number).encode()).hexdigest()
    return Key(id=f"key-{number:05d}", hash=digest, tenant=tenant_name(number), limits=AMPLE)
