"""The control loop: ingest the journal, step the rollouts, publish the route table; again and again.

Everything it decides lies in the records, so it may be killed at any line and started again. The gateway goes on
without it.
"""

import asyncio
import logging
import threading
from pathlib import Path

from modelyard.core.errors import ModelyardError
from modelyard.ports.engine import Connect
from modelyard.ports.routes import RouteTable, Service
from modelyard.project.model import Project
from modelyard.workflows.engines import load_release
from modelyard.workflows.ingest import Ingester
from modelyard.workflows.releases import mirror_release
from modelyard.workflows.rollouts import step_rollouts
from modelyard.workflows.routes import build_services, publish
from modelyard.workflows.tools import Tools

log = logging.getLogger(__name__)


class Control:
    """The loop of one project and one engine. `tick()` is one turn; `run()` turns until it is told to stop."""

    def __init__(
        self, tools: Tools, project: Project, connect: Connect, engine_url: str, *, journal: Path, table_file: Path
    ) -> None:
        self._tools, self._project = tools, project
        self._connect, self._engine_url = connect, engine_url
        self._table_file = table_file
        self._ingester = Ingester(tools.records, journal)
        self._loaded: set[str] = set()
        self._turn = threading.Lock()

    def tick(self) -> RouteTable:
        """Read what happened, decide, publish. Raises what a store or the engine raises; the next tick tries again."""
        with self._turn:
            self._ingester.ingest_once()
            rollouts = step_rollouts(self._tools, self._project)
            services = build_services(self._tools.records, self._project, self._engine_url)
            self._load_adapters(services)
            table = publish(self._tools.records, services, self._table_file)
            # Last, as a slow tracker must not hold up a change of traffic.
            for rollout in rollouts:
                if rollout.state == "promoted":
                    mirror_release(self._tools, self._project, rollout.service, rollout.challenger, "champion")
            return table

    def run(self, stop: threading.Event, interval_s: float = 0.25) -> None:
        """Tick until `stop` is set, and once more to ingest the rest."""
        while not stop.wait(interval_s):
            self._tick_patiently()
        self._tick_patiently()

    def forget_engine(self) -> None:
        """The engine was started anew and holds no adapters: load them again at the next tick."""
        self._loaded.clear()

    def _tick_patiently(self) -> None:
        try:
            self.tick()
        except ModelyardError as error:
            log.warning("the control loop will try again: %s", str(error).replace("\n", " "))

    def _load_adapters(self, services: tuple[Service, ...]) -> None:
        """Every adapter must be in the engine before the table that names it is published."""
        digests = {one.release for service in services for one in (service.champion, service.challenger) if one}
        if missing := digests - self._loaded:
            asyncio.run(self._load(missing))
            self._loaded |= missing

    async def _load(self, digests: set[str]) -> None:
        engine = self._connect()
        try:
            for digest in digests:
                await load_release(self._tools, engine, self._tools.records.releases.get(digest))
        finally:
            await engine.close()
