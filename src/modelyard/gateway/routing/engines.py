"""How loaded the engines are: a page of metrics read from each every half second, off the path of requests."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from random import uniform
from time import monotonic
from urllib.parse import urlsplit

from modelyard.gateway.routing.readings import Wanted

_MAX_READS_PER_S = 200.0
_STALE_INTERVALS = 4
_MIN_STALE_S = 3.0
_TIMEOUT_S = 2.0
_TICK_S = 0.05

logger = logging.getLogger(__name__)

Fetch = Callable[[str], Awaitable[bytes]]


class Load:
    """One address's load, shared by all services that send there. Readings of -1 are unknown.

    `in_flight` counts this gateway's requests there. `fresh_until_s` ends the time for which the readings count.
    """

    __slots__ = (
        "busy",
        "cache_use",
        "due_s",
        "failed",
        "fresh_until_s",
        "in_flight",
        "name",
        "running",
        "url",
        "waiting",
    )

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.url = url
        self.name = parts.netloc.rpartition("@")[2]
        self.in_flight = 0
        self.waiting = -1.0
        self.running = -1.0
        self.cache_use = -1.0
        self.fresh_until_s = 0.0
        self.due_s = 0.0
        self.busy = False
        self.failed = 0

    def take(self, reading: tuple[float, float, float], fresh_until_s: float) -> None:
        """Note what the engine says."""
        self.waiting, self.running, self.cache_use = reading
        self.fresh_until_s = fresh_until_s


class Poller:
    """Reads the load of what `watch` names, each address at its own moment, never twice at once.

    `fetch` gets a page's bytes or raises anything at all; one that takes longer than two seconds is given up.
    Where there are many addresses each is read less often, so that reading never costs more than a few percent.
    """

    def __init__(self, fetch: Fetch, *, interval_s: float = 0.5) -> None:
        self._fetch = fetch
        self._least_s = interval_s
        self._interval_s = interval_s
        self._watched: dict[Load, Wanted] = {}
        self._reads: set[asyncio.Task[None]] = set()
        self.num_read = 0
        self.num_failed = 0

    def watch(self, loads: Mapping[Load, Wanted]) -> None:
        """From now on read these, and no others. Call it with `Plan.watched` when a table is taken."""
        self._watched = dict(loads)
        self._interval_s = max(self._least_s, len(loads) / _MAX_READS_PER_S)
        for index, load in enumerate(loads):
            if not load.due_s:
                load.due_s = monotonic() + self._interval_s * index / len(loads)

    async def run(self) -> None:
        """Read until cancelled."""
        try:
            while True:
                self._start_due(monotonic())
                await asyncio.sleep(_TICK_S)
        finally:
            for task in self._reads:
                task.cancel()

    def _start_due(self, now_s: float) -> None:
        for load, wanted in self._watched.items():
            if load.due_s <= now_s and not load.busy:
                load.due_s = now_s + self._interval_s * uniform(0.8, 1.2)  # noqa: S311
                load.busy = True
                task = asyncio.create_task(self._read(load, wanted))
                self._reads.add(task)
                task.add_done_callback(self._reads.discard)

    async def _read(self, load: Load, wanted: Wanted) -> None:
        began_s = monotonic()
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                page = await self._fetch(metrics_url(load.url, wanted.path))
            load.take(wanted.read(page), began_s + max(_MIN_STALE_S, _STALE_INTERVALS * self._interval_s))
            self.num_read += 1
            load.failed = 0
        except Exception as error:
            self.num_failed += 1
            load.failed += 1
            if load.failed == 1:
                logger.warning("the load of engine %s cannot be read (%s)", load.name, type(error).__name__)
        finally:
            load.busy = False


def metrics_url(engine_url: str, path: str) -> str:
    """Where an engine tells its load: beside its `/v1`, not below it."""
    return engine_url.rstrip("/").removesuffix("/v1") + path


def any_fresh(loads: Iterable[Load], now_s: float) -> bool:
    """Whether the readings of at least one of these still count."""
    return any(load.fresh_until_s > now_s for load in loads)
