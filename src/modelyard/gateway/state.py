"""The state of a gateway's process, and its work in the background: table, kill switch, limits, loads, metrics."""

import asyncio
import gc
import logging
from collections.abc import Coroutine, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

from modelyard.core.errors import InvalidInput
from modelyard.gateway.cache.caches import Caches
from modelyard.gateway.errors import UpstreamFailed, malformed
from modelyard.gateway.exchange.caching import embedder
from modelyard.gateway.exchange.permits import Permits
from modelyard.gateway.flow import end, launch
from modelyard.gateway.guards.kills import Kills
from modelyard.gateway.guards.remote import RemoteKills
from modelyard.gateway.limits.recovery import Recovery
from modelyard.gateway.limits.shared import SharedLimits, SharedSettings
from modelyard.gateway.limits.spends import Spends
from modelyard.gateway.limits.subjects import needs_redis
from modelyard.gateway.recording.exposition import Family
from modelyard.gateway.recording.journal import Journal
from modelyard.gateway.recording.ledger import Ledger
from modelyard.gateway.recording.metrics import Metrics
from modelyard.gateway.recording.snapshots import Snapshots
from modelyard.gateway.routing.engines import Poller
from modelyard.gateway.routing.families import families
from modelyard.gateway.settings import GatewaySettings
from modelyard.gateway.table import TableFile
from modelyard.gateway.upstream import Pool, parse_origin
from modelyard.ports.kills import FILE_NAME
from modelyard.ports.serving import Timeouts

_WATCH_S = 0.05
_FLUSH_S = 1.0
_MAX_PAGE_BYTES = 4 << 20
_CHECKPOINT = "spends.json"
_METRICS = "metrics"
_PAGE_TIMEOUTS = Timeouts(connect_s=2.0, first_token_s=2.0, between_tokens_s=2.0, total_s=2.0)

logger = logging.getLogger(__name__)


class GatewayState:
    """All that requests share. `start` before the first request, `stop` after the last."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self.pool = Pool()
        self.caches = Caches(embedder(self.pool, lambda: self.table.routes))
        self.table = TableFile(settings.table, self.pool, self.caches)
        self.kills = Kills(settings.table.with_name(FILE_NAME))
        self.permits = Permits(self.kills)
        self.journal = Journal(settings.journal, segment_bytes=settings.segment_bytes)
        self.metrics = Metrics()
        self.metrics.others += [self.caches.families, self._of_routes]
        self.ledger = Ledger(self.journal, self.metrics)
        self._poller = Poller(self._fetch)
        self._spends: Spends | None = None
        self._snapshots: Snapshots | None = None
        self._background: list[asyncio.Task[None]] = []
        self._told = ""

    async def start(self) -> None:
        """A first look at the table, what was spent before, and work in the background from now on."""
        work: list[Coroutine[Any, Any, None]] = [self._watch(), self._flush(), self._poller.run()]
        if self.settings.redis_url:
            self._share_limits(self.settings.redis_url)
            work.append(RemoteKills(self.settings.redis_url, self.kills).run())
        else:
            journal = self.settings.journal
            checkpoint = journal.with_name(f"{journal.name}-{_CHECKPOINT}")
            self._spends = Spends(self.permits.local, checkpoint, journal, self.journal.position)
            work.append(self._spends.run())
        self._refresh()
        if self.permits.shared is not None and self.permits.shared.started:
            await self.permits.shared.first_answer()
        if self.settings.workers > 1:
            self._snapshots = Snapshots(metrics_folder(self.settings))
            work.append(self._share_metrics(self._snapshots))
        self._background = [asyncio.create_task(one) for one in work]

    async def stop(self) -> None:
        """An orderly end, after the last answer."""
        await end(*self._background)
        if self._spends is not None:
            await self._spends.save()
        if self.permits.shared is not None:
            await self.permits.shared.close()
        self.pool.close()
        self.journal.close()

    def render_metrics(self) -> bytes:
        """Everything for a scraper."""
        others = self._snapshots.others() if self._snapshots is not None else ()
        return self.metrics.render(self.table, self.journal, self.pool.num_retries, others)

    def _of_routes(self) -> Iterator[Family]:
        """What a route table's parts have counted."""
        routes = self.table.routes
        if routes is None:
            return
        yield from families(routes.plan.snapshot(monotonic()))
        found = [((name, *what), count) for name, counted in routes.findings.items() for what, count in counted.items()]
        yield Family("filtered_total", "counter", "What filters found.", ("service", "filter", "found"), found)
        alarms = self.permits.alarms.all()
        rung = [((alarm.tenant,), alarm.num_rung) for alarm in alarms]
        yield Family("spend_alarms_total", "counter", "How often a tenant's spend alarm rang.", ("tenant",), rung)

    def _refresh(self) -> None:
        if self.table.refresh() and (routes := self.table.routes) is not None:
            self.permits.take_table(routes.table)
            self._count_what_was_spent()
            self.pool.keep(routes.origins)
            self._poller.watch(routes.plan.watched)
            self._check_workers()
            settle_memory()
        self.kills.refresh()

    def _check_workers(self) -> None:
        routes = self.table.routes
        if self.settings.workers == 1 or self.settings.redis_url or routes is None:
            return
        told = needs_redis(routes.table)
        if told and told != self._told:
            logger.error(
                "%s hold for each of the %d workers by itself, so that together they let more through: give a Redis "
                "with --redis, or use one worker",
                told,
                self.settings.workers,
            )
        self._told = told

    def _share_limits(self, url: str) -> None:
        journal, local = self.settings.journal, self.permits.local
        recovery = Recovery(journal, self.journal.start, self.journal.position, local.calendar)
        settings = SharedSettings(url=url, on_redis_down=self.settings.on_redis_down)
        self.permits.shared = SharedLimits(settings, local, recovery)

    def _count_what_was_spent(self) -> None:
        """With the first table, before the first request: without a table nothing says what has a budget."""
        if self._spends is not None and not self._spends.restored:
            self._spends.restore()
        if self.permits.shared is not None and not self.permits.shared.started:
            self.permits.shared.begin()

    async def _fetch(self, url: str) -> bytes:
        """An engine's page of metrics."""
        return await launch(self._read_page(url))

    async def _read_page(self, url: str) -> bytes:
        try:
            origin, path = parse_origin(url)
        except InvalidInput:
            raise malformed() from None
        head = f"GET {path} HTTP/1.1\r\nhost: {origin.host_header}\r\naccept: text/plain\r\n".encode()
        connection = await self.pool.send(self.pool.line(origin), head, b"", _PAGE_TIMEOUTS)
        pieces, size = [], 0
        try:
            while piece := await connection.next_piece():
                pieces.append(piece)
                size += len(piece)
                if size > _MAX_PAGE_BYTES:
                    raise malformed()
        finally:
            connection.release()
        if connection.status != 200:
            raise UpstreamFailed(502, f"upstream_{connection.status}", "The engine tells no metrics.")
        return b"".join(pieces)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_S)
            try:
                self._refresh()
            except Exception:
                # Without this watch neither a new table nor the kill switch would be seen again.
                logger.exception("looking at the route table and the kill switch failed; it is done again")

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_S)
            await self.journal.flush()

    async def _share_metrics(self, snapshots: Snapshots) -> None:
        while True:
            await asyncio.sleep(_FLUSH_S)
            snapshots.write(self.metrics.state(self.table, self.journal, self.pool.num_retries))


def settle_memory() -> None:
    """Keep what a route table is made of out of the collector's sight until the next one: it is large, and stays."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def metrics_folder(settings: GatewaySettings) -> Path:
    """Where workers share what they have counted."""
    return settings.journal.with_name(f"{settings.journal.name}-{_METRICS}")
