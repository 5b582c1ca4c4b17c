"""The route table of a project: built from its rollouts, releases and keys, and published where it changed.

No table says who the champion is: the newest rollout of a service does (docs/decisions/0002).
"""

from pathlib import Path

import msgspec

from modelyard.core.clock import now_ms
from modelyard.core.errors import Corrupt, NotFound
from modelyard.core.files import write_atomically
from modelyard.core.money import nanousd
from modelyard.ports.records import Records
from modelyard.ports.routes import Price, RouteTable, Service, Variant, decode_route_table, encode_route_table
from modelyard.project.model import Project, ServiceConfig
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
    """A service of the project as it should be served now; None where it was never launched."""
    config = project.services[name]
    rollout = next(iter(records.rollouts.latest(name)), None)
    if rollout is None or not rollout.serving:
        return None

    def variant(digest: str) -> Variant:
        return _variant(records, digest, config, engine_url)

    service = Service(name=name, champion=variant(rollout.serving), body_policy=config.record)
    if rollout.state != "running":
        return service
    return trial_service(service, service.champion, variant(rollout.challenger), rollout)


def publish(records: Records, services: tuple[Service, ...], file: Path) -> RouteTable:
    """Make the stored table and the gateway's file say this, and return the table. Costs nothing where they do.

    The stored table comes first: a process killed in between leaves an old file, which the next call writes.
    """
    table = published(records)
    keys = tuple(sorted(records.routes.keys(), key=lambda key: key.id))
    # Records that were lost or restored may be behind the gateway, which takes no older table.
    served = _version_of(file)
    if table is None or table.version < served or (table.services, table.keys) != (services, keys):
        table = next_table(table, services, keys, now_ms())
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
