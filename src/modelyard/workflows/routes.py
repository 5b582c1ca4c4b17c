"""The route table of a project: built from its rollouts, releases and keys, and published where it changed.

No table says who the champion is: the newest rollout of a service does (docs/decisions/0002).
"""

from pathlib import Path

import msgspec

from modelyard.core.clock import now_ms
from modelyard.core.errors import Corrupt, NotFound
from modelyard.core.files import write_atomically
from modelyard.ports.records import Records
from modelyard.ports.release import Release
from modelyard.ports.routes import RouteTable, Service, Tenant, Variant, decode_route_table, encode_route_table
from modelyard.project.model import Project
from modelyard.project.serving import PriceConfig
from modelyard.rollout.routing import next_table, trial_service


def champion_of(records: Records, service: str) -> str:
    """The digest of the release that serves, empty where the service was never launched."""
    return "".join(rollout.serving for rollout in records.rollouts.latest(service))


def services_of(records: Records, release: str) -> list[str]:
    """The services that a release answers for now, as champion or on trial."""
    return [
        rollout.service
        for rollout in records.rollouts.latest()
        if release == rollout.serving or (rollout.state == "running" and release == rollout.challenger)
    ]


def build_service(records: Records, project: Project, name: str, engine_url: str) -> Service | None:
    """A service of the project as it should be served now, with none of its `variants`; None where never launched."""
    config = project.services[name]
    rollout = next(iter(records.rollouts.latest(name)), None)
    if rollout is None or not rollout.serving:
        return None

    def variant(digest: str) -> Variant:
        return release_variant(records.releases.get(digest), config.price, engine_url)

    service = config.service(name, variant(rollout.serving))
    if rollout.state != "running":
        return service
    return trial_service(service, service.champion, variant(rollout.challenger), rollout)


def hosted_service(project: Project, name: str) -> Service:
    """A service whose champion is no release of ours; nothing about it lies in the records."""
    config = project.hosted[name]
    return config.service(name, config.variant(name))


def tenants_of(project: Project) -> tuple[Tenant, ...]:
    """The tenants that the project file names, by name; any other tenant has no limits of its own."""
    return tuple(config.tenant(name) for name, config in sorted(project.tenants.items()))


def publish(
    records: Records, services: tuple[Service, ...], file: Path, tenants: tuple[Tenant, ...] = ()
) -> RouteTable:
    """Make the stored table and the gateway's file say this, and return the table. Costs nothing where they do.

    The stored table comes first: a process killed in between leaves an old file, which the next call writes.
    """
    table = published(records)
    keys = tuple(sorted(records.routes.keys(), key=lambda key: key.id))
    # Records that were lost or restored may be behind the gateway, which takes no older table.
    served = _version_of(file)
    said = table and (table.services, table.keys, table.tenants)
    if table is None or table.version < served or said != (services, keys, tenants):
        table = next_table(table, services, keys, now_ms(), tenants)
        table = msgspec.structs.replace(table, version=max(table.version, served + 1))
        records.routes.add_table(table)
    data = encode_route_table(table)
    if not file.is_file() or file.read_bytes() != data:
        write_atomically(file, data)
    return table


def _version_of(file: Path) -> int:
    try:
        return decode_route_table(file.read_bytes()).version
    except (FileNotFoundError, Corrupt):
        return 0


def published(records: Records) -> RouteTable | None:
    """The table that was published last, None where none was."""
    try:
        return records.routes.table()
    except NotFound:
        return None


def release_variant(release: Release, price: PriceConfig, engine_url: str) -> Variant:
    """A release of ours as an engine serves it."""
    return Variant(
        release=release.digest,
        ref=release.ref,
        engine_url=engine_url,
        model=release.engine_model,
        system_prompt=release.system_prompt,
        sampling=release.sampling,
        price=price.price(),
        quantization=release.quantization,
    )
