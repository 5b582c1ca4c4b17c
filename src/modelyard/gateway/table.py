"""The route table as the gateway uses it: read from a file, checked, indexed, swapped whole. Keeps the last good."""

import logging
from pathlib import Path
from typing import Literal

import msgspec

from modelyard.core.clock import now_ms
from modelyard.core.errors import Corrupt, ModelyardError
from modelyard.gateway.keys import index_keys
from modelyard.gateway.upstream import Origin, parse_origin
from modelyard.ports.routes import Key, Role, RouteTable, Service, Variant, decode_route_table

Kind = Literal["chat", "completions"]

_PATHS: dict[Kind, str] = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}
_MAX_NAMED = 20

logger = logging.getLogger(__name__)


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


class Target:
    """A variant made ready for requests: all that does not change from one to the next is encoded once."""

    __slots__ = ("defaults", "heads", "model", "origin", "system", "variant")

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.origin, prefix = parse_origin(variant.engine_url)
        self.heads = {kind: self._head(prefix + path) for kind, path in _PATHS.items()}
        self.model = _raw(variant.model)
        self.system = b""
        if variant.system_prompt:
            self.system = msgspec.json.encode({"role": "system", "content": variant.system_prompt})
        sampling = variant.sampling
        self.defaults = {
            "temperature": _raw(sampling.temperature),
            "top_p": _raw(sampling.top_p),
            "max_tokens": _raw(sampling.max_tokens),
        }

    def _head(self, path: str) -> bytes:
        lines = f"POST {path} HTTP/1.1\r\nhost: {self.origin.host_header}\r\ncontent-type: application/json\r\n"
        return lines.encode() + b"accept: application/json, text/event-stream\r\n"


class Route:
    """A service with its targets."""

    __slots__ = ("challenger", "champion", "name", "service")

    def __init__(self, service: Service) -> None:
        self.service = service
        self.name = _raw(service.name)
        self.champion = Target(service.champion)
        self.challenger = Target(service.challenger) if service.challenger else None

    def assign(self, unit: str) -> tuple[Role, Target, float]:
        """Who answers a unit, in which role, with what propensity."""
        role, _, propensity = self.service.assign(unit)
        if role == "challenger" and self.challenger is not None:
            return role, self.challenger, propensity
        return "champion", self.champion, propensity

    @property
    def targets(self) -> list[Target]:
        """The champion, and the challenger if there is one."""
        return [self.champion, self.challenger] if self.challenger else [self.champion]


class Routes:
    """A route table, indexed. A request looks things up here and takes no more steps for a larger table.

    Raises: Corrupt where the table names a service or a key twice, or an engine by something that is no URL.
    """

    def __init__(self, table: RouteTable) -> None:
        self.table = table
        self.services = {service.name: Route(service) for service in table.services}
        self.keys: dict[str, Key] = index_keys(table.keys)
        for what, index, given in (("service", self.services, table.services), ("key", self.keys, table.keys)):
            if len(index) != len(given):
                raise Corrupt(f"route table {table.version} holds a {what} twice", fix="Publish it again.")
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
        return {target.origin for route in self.services.values() for target in route.targets}

    def names(self) -> str:
        """The services, for people."""
        names = [f"'{name}'" for name in sorted(self.services)]
        more = [f"and {len(names) - _MAX_NAMED} more"] if len(names) > _MAX_NAMED else []
        return ", ".join(names[:_MAX_NAMED] + more) or "none"


class TableFile:
    """Watches a route table's file. `routes` is the last good table, None before the first."""

    def __init__(self, path: Path) -> None:
        self.path = path
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
        self.routes = Routes(table)
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
