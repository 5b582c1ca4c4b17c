"""The route table of a project: built from its rollouts, releases and keys, and published where it changed.

No table says who the champion is: the newest rollout of a service does (docs/decisions/0002).
"""

from pathlib import Path

from modelyard.core.clock import now_ms
from modelyard.core.errors import NotFound
from modelyard.core.files import write_atomically
from modelyard.core.money import nanousd
from modelyard.ports.records import Records
from modelyard.ports.rollout import Rollout
from modelyard.ports.routes import Price, RouteTable, Service, Variant, encode_route_table
from modelyard.project.model import Project, ServiceConfig
from modelyard.rollout.routing import next_table, trial_service


def champion_of(records: Records, service: str) -> str:
    """The digest of the release that serves, empty where the service was never launched."""
    rollouts = records.rollouts.newest(service)
    return _champion_after(rollouts[0]) if rollouts else ""


def build_services(records: Records, project: Project, engine_url: str) -> tuple[Service, ...]:
    """Every launched service of the project as it should be served now, by name."""
    services = (_build_service(records, name, project.services[name], engine_url) for name in sorted(project.services))
    return tuple(service for service in services if service is not None)


def publish(records: Records, services: tuple[Service, ...], file: Path) -> RouteTable:
    """Make the stored table and the gateway's file say this, and return the table. Costs nothing where they do.

    The stored table comes first: a process killed in between leaves an old file, which the next call writes.
    """
    table = _newest(records)
    keys = tuple(sorted(records.routes.keys(), key=lambda key: key.id))
    if table is None or (table.services, table.keys) != (services, keys):
        table = next_table(table, services, keys, now_ms())
        records.routes.add_table(table)
    data = encode_route_table(table)
    if not file.is_file() or file.read_bytes() != data:
        write_atomically(file, data)
    return table


def _newest(records: Records) -> RouteTable | None:
    try:
        return records.routes.table()
    except NotFound:
        return None


def _champion_after(rollout: Rollout) -> str:
    return rollout.challenger if rollout.state == "promoted" else rollout.champion


def _build_service(records: Records, name: str, config: ServiceConfig, engine_url: str) -> Service | None:
    rollouts = records.rollouts.newest(name)
    if not rollouts or not (champion := _champion_after(rollouts[0])):
        return None

    def variant(digest: str) -> Variant:
        return _variant(records, digest, config, engine_url)

    service = Service(name=name, champion=variant(champion), body_policy=config.record)
    if rollouts[0].state != "running":
        return service
    return trial_service(service, service.champion, variant(rollouts[0].challenger), rollouts[0])


def _variant(records: Records, digest: str, config: ServiceConfig, engine_url: str) -> Variant:
    release = records.releases.get(digest)
    price = Price(input_nanousd=nanousd(config.price.input), output_nanousd=nanousd(config.price.output))
    return Variant(
        release=digest,
        ref=release.ref,
        engine_url=engine_url,
        model=release.engine_model,
        system_prompt=release.system_prompt,
        sampling=release.sampling,
        price=price,
    )
