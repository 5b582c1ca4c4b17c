"""The route table as the gateway uses it: read from a file, checked, indexed, swapped whole. Keeps the last good."""

import logging
from pathlib import Path

import msgspec

from modelyard.core.clock import now_ms
from modelyard.core.errors import Corrupt, ModelyardError
from modelyard.gateway.cache.caches import Caches, ServiceCache
from modelyard.gateway.exchange.target import Address, Target
from modelyard.gateway.guards.credentials import Credentials
from modelyard.gateway.guards.filters import Findings, Guards
from modelyard.gateway.guards.masking import mask
from modelyard.gateway.keys import index_keys
from modelyard.gateway.recording.bodies import Bodies
from modelyard.gateway.routing.choice import Chooser
from modelyard.gateway.routing.plan import Plan
from modelyard.gateway.upstream import Origin, Pool
from modelyard.ports.limits import Tenant
from modelyard.ports.routes import Key, RouteTable, Service, Variant, decode_route_table
from modelyard.ports.sheets import sheet_of

_MAX_NAMED = 20

logger = logging.getLogger(__name__)


class Route:
    """A service made ready: who answers, what is filtered, kept and recorded.

    `probes`: whether answers are asked for again where their engine was not sure of them.
    """

    __slots__ = ("bodies", "cache", "chooser", "guards", "name", "probes", "service", "several")

    def __init__(self, service: Service, chooser: Chooser, cache: ServiceCache | None, findings: Findings) -> None:
        self.service = service
        self.name = msgspec.Raw(msgspec.json.encode(service.name))
        self.chooser = chooser
        self.guards = Guards.build(service.filters, findings)
        self.bodies = Bodies(service.body_policy, service.body_share, mask)
        self.cache = cache
        self.probes = service.preference is not None and service.preference.min_confidence > 0
        self.several = any(candidate.replicas.several for candidate in chooser.candidates.values())

    def make_ready(self, pool: Pool, credentials: Credentials, before: "Route | None") -> None:
        """Encode what requests need, and keep what was learnt of the same releases."""
        known = {}
        names = self.service.fallbacks if self.service.challenger is None else ("champion", *self.service.fallbacks)
        successors = [self.chooser.candidates[name].variant for name in names if name in self.chooser.candidates]
        if before is not None:
            targets = [candidate.target for candidate in before.chooser.candidates.values()]
            known = {target.variant.release: target for target in targets if isinstance(target, Target)}
        # Filters and confidence look at chat completions.
        over_chat = self.probes or (self.guards is not None and self.guards.looks_at_answers)
        for candidate in self.chooser.candidates.values():
            variant = candidate.variant
            target = candidate.target = Target(variant, self.service.max_output_tokens, over_chat=over_chat)
            target.follow_up(successors)
            if variant.release in known:
                target.chars_per_token = known[variant.release].chars_per_token
            head = credentials.head(variant) if credentials.usable(variant) else None
            for replica in candidate.replicas.all:
                replica.target = None if head is None else Address(replica.url, pool, head, sheet_of(variant.engine))


class Routes:
    """A route table, indexed. A request looks things up here and takes no more steps for a larger table.

    Raises: ModelyardError where the table names a service or a key twice, or holds what cannot be used; `before` is as
    it was then.
    """

    def __init__(self, table: RouteTable, pool: Pool, caches: Caches, before: "Routes | None" = None) -> None:
        self.table = table
        self.keys: dict[str, Key] = index_keys(table.keys)
        services = {service.name: service for service in table.services}
        for what, index, given in (("service", services, table.services), ("key", self.keys, table.keys)):
            if len(index) != len(given):
                raise Corrupt(f"route table {table.version} holds a {what} twice", fix="Publish it again.")
        self.findings: dict[str, Findings] = {
            name: before.findings[name] if before and name in before.findings else Findings() for name in services
        }
        self.plan: Plan = Plan(table, before.plan if before else None)
        self.credentials = Credentials(variant for service in table.services for variant in _variants(service))
        caches.configure(table.services)
        self.services = {
            name: Route(service, self.plan.services[name], caches.of(name), self.findings[name])
            for name, service in services.items()
        }
        for name, route in self.services.items():
            route.make_ready(pool, self.credentials, before.services.get(name) if before else None)
        self.by_raw = {bytes(route.name): route for route in self.services.values()}
        self.tenants: dict[str, Tenant] = {tenant.name: tenant for tenant in table.tenants}
        created = table.created_ms // 1000
        entries = [{"id": n, "object": "model", "created": created, "owned_by": "modelyard"} for n in self.services]
        self.models = msgspec.json.encode({"object": "list", "data": entries})

    @property
    def keeps_texts(self) -> bool:
        """Whether every service records texts: a key opens all of them, and feedback does not say which it is on."""
        services = self.table.services
        return bool(services) and all(service.body_policy == "full" for service in services)

    @property
    def origins(self) -> set[Origin]:
        """Every engine that the table sends requests to."""
        return {
            replica.target.line.origin
            for route in self.services.values()
            for candidate in route.chooser.candidates.values()
            for replica in candidate.replicas.all
            if isinstance(replica.target, Address)
        }

    def names(self) -> str:
        """The services, for people."""
        names = [f"'{name}'" for name in sorted(self.services)]
        more = [f"and {len(names) - _MAX_NAMED} more"] if len(names) > _MAX_NAMED else []
        return ", ".join(names[:_MAX_NAMED] + more) or "none"


def _variants(service: Service) -> list[Variant]:
    return [variant for variant in (service.champion, service.challenger, *service.variants) if variant]


class TableFile:
    """Watches a route table's file. `routes` is the last good table, None before the first."""

    def __init__(self, path: Path, pool: Pool, caches: Caches | None = None) -> None:
        self.path = path
        self._pool = pool
        self._caches = caches or Caches()
        self.routes: Routes | None = None
        self.error = "there is no route table yet"
        self.num_errors = 0
        self.loaded_ms = 0
        self._seen: tuple[int, int, int] | None = None
        self._missing = False

    def refresh(self) -> bool:
        """Look at the file and take it if it is new and good. True where the table changed."""
        try:
            status = self.path.stat()
        except OSError as error:
            self._note_missing(error)
            return False
        self._missing = False
        seen = (status.st_mtime_ns, status.st_ino, status.st_size)
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            return self._take(decode_route_table(self.path.read_bytes()))
        except (OSError, ModelyardError) as error:
            self._report(error)
            return False

    def _take(self, table: RouteTable) -> bool:
        current = self.routes.table if self.routes else None
        if current is not None and table.version < current.version:
            raise Corrupt(
                f"route table {table.version} is older than the one served",
                expected=f"version {current.version} or later",
                fix="Publish a new table; to go back, publish the old content under a new version.",
            )
        self.routes = Routes(table, self._pool, self._caches, self.routes)
        self.loaded_ms = now_ms()
        self.error = ""
        logger.info("serving route table %d with %d services", table.version, len(table.services))
        return current is None or table.digest != current.digest

    def _note_missing(self, error: OSError) -> None:
        """A missing file is a fault only once there has been one, and is reported once."""
        if self._seen is not None and not self._missing:
            self._missing = True
            self._report(error)

    def _report(self, error: Exception) -> None:
        self.num_errors += 1
        self.error = str(error)
        kept = f"still serving {self.routes.table.version}" if self.routes else "serving nothing"
        logger.error("the route table %s was not taken, %s: %s", self.path, kept, error)
