"""The kill switch in the gateway: what is stopped is refused, and what is in flight of it is told to end."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from modelyard.core.clock import now_ms
from modelyard.core.errors import ModelyardError
from modelyard.gateway.errors import Refusal
from modelyard.ports.kills import KINDS, Kill, KillKind, Lift, decode_kills

logger = logging.getLogger(__name__)


class Kills:
    """What is stopped now, from the file and from other gateways together. `active` is False where nothing is.

    `refresh` looks at the file: call it every 50 ms, as the route table's. Whoever holds requests in flight adds a
    function to `on_change`; it is called whenever more or less is stopped, and asks `refusal` for each of them.
    Those in `on_lift` are told a tenant whose spend alarm an operator lifts.
    """

    __slots__ = (
        "_all",
        "_file",
        "_lifted",
        "_live",
        "_merged",
        "_names",
        "_seen",
        "active",
        "error",
        "num_errors",
        "on_change",
        "on_lift",
        "path",
    )  # fmt: skip

    def __init__(self, path: Path) -> None:
        self.path = path
        self.active = False
        self.error = ""
        self.num_errors = 0
        self.on_change: list[Callable[[], None]] = []
        self.on_lift: list[Callable[[str], object]] = []
        self._lifted: dict[str, int] = {}
        self._file: tuple[Kill, ...] = ()
        self._merged: tuple[Kill, ...] = ()
        self._live: tuple[Kill, ...] = ()
        self._all = False
        self._names: dict[KillKind, frozenset[str]] = _by_kind(())
        self._seen: tuple[int, int, int] | None = None

    @property
    def live(self) -> tuple[Kill, ...]:
        """What is stopped now."""
        return self._live

    def check(self, key_id: str, tenant: str, service: str) -> None:
        """Raises: Refusal (403, `killed`) where a key, its tenant, the service or everything is stopped."""
        if self.active and (told := self.refusal(key_id, tenant, service)) is not None:
            raise told

    def refusal(self, key_id: str, tenant: str, service: str) -> Refusal | None:
        """What a request of these is told, None where none of them is stopped."""
        if not self.active:
            return None
        if self._all:
            return _refusal("all", "Everything behind this gateway")
        names = self._names
        if key_id in names["key"]:
            return _refusal("key", "This API key")
        if tenant in names["tenant"]:
            return _refusal("tenant", "This tenant")
        return _refusal("service", "This service") if service in names["service"] else None

    def refresh(self) -> bool:
        """Look at the file and the clock. True where something changed. A file that is broken changes nothing."""
        try:
            status = self.path.stat()
            seen = (status.st_mtime_ns, status.st_ino, status.st_size)
            if seen != self._seen:
                self._seen = seen
                file = decode_kills(self.path.read_bytes())
                self._file = file.kills
                self._lift(file.lifts)
                self.error = ""
        except FileNotFoundError:
            self._seen, self._file, self.error = None, (), ""
        except (OSError, ModelyardError) as error:
            self._report(error)
        return self._settle()

    def merge(self, kills: Iterable[Kill], lifts: Iterable[Lift] = ()) -> bool:
        """What other gateways know to be stopped, in the place of what they knew before. True where it changed."""
        self._merged = tuple(kills)
        self._lift(lifts)
        return self._settle()

    def _lift(self, lifts: Iterable[Lift]) -> None:
        for lift in lifts:
            if self._lifted.get(lift.tenant, 0) < lift.at_ms:
                self._lifted[lift.tenant] = lift.at_ms
                for tell in self.on_lift:
                    tell(lift.tenant)

    def _settle(self) -> bool:
        now = now_ms()
        live = tuple(kill for kill in (*self._file, *self._merged) if not 0 < kill.until_ms <= now)
        if live == self._live:
            return False
        self._live = live
        self._all = any(kill.kind == "all" for kill in live)
        self._names = _by_kind(live)
        self.active = bool(live)
        logger.warning("the kill switch stops %s", ", ".join(_named(kill) for kill in live) or "nothing any more")
        for tell in self.on_change:
            tell()
        return True

    def _report(self, error: Exception) -> None:
        if str(error) == self.error:
            return
        self.num_errors += 1
        self.error = str(error)
        logger.error("the kill switch's file %s was not taken, what was stopped stays so: %s", self.path, error)


def _by_kind(kills: Iterable[Kill]) -> dict[KillKind, frozenset[str]]:
    named = [(kill.kind, kill.name) for kill in kills]
    return {kind: frozenset(name for of, name in named if of == kind) for kind in KINDS}


def _named(kill: Kill) -> str:
    return f"{kill.kind} {kill.name}".strip()


def _refusal(kind: KillKind, what: str) -> Refusal:
    message = f"{what} is stopped by its operator. Ask them when it will go on."
    return Refusal(403, "killed", message, labels=(kind,))
