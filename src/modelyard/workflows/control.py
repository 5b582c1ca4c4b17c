"""The control loop: ingest the journal, step the rollouts, publish the route table; again and again.

Everything it decides lies in the records, so it may be killed at any line and started again. The gateway goes on
without it. No part of it waits for another's trouble: what fails is told once and tried again, and the rest goes on.
"""

import asyncio
import threading
from pathlib import Path

from modelyard.ports.engine import Connect
from modelyard.ports.rollout import Rollout
from modelyard.ports.routes import RouteTable, Service
from modelyard.ports.telemetry import Telemetry
from modelyard.project.loading import load_project
from modelyard.project.model import Project
from modelyard.project.serving import ServingConfig
from modelyard.rollout.routing import plain_service
from modelyard.workflows.engines import load_release
from modelyard.workflows.ingest import Ingester
from modelyard.workflows.loader import Loader
from modelyard.workflows.mirror import Mirror
from modelyard.workflows.releases import mirror_release
from modelyard.workflows.rollouts import Looks, settle_stages, step_rollout
from modelyard.workflows.routes import build_service, hosted_service, publish, published, tenants_of
from modelyard.workflows.telling import Teller
from modelyard.workflows.tools import Tools
from modelyard.workflows.troubles import Troubles
from modelyard.workflows.variants import Variants

_LOAD_PATIENCE_S = 10.0
_LOAD_RETRY_S = 2.0
_MIRROR_TIMEOUT_S = 10.0


class Control:
    """The loop of one project and one engine. `tick()` is one turn; `run()` turns until it is told to stop.

    `project_file` is read again whenever it changes; while it is broken, what it said before holds.
    """

    def __init__(
        self,
        tools: Tools,
        project: Project,
        connect: Connect,
        engine_url: str,
        *,
        journal: Path,
        table_file: Path,
        project_file: Path | None = None,
        patience_s: float = _LOAD_PATIENCE_S,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._tools, self._project = tools, project
        self._connect, self._engine_url = connect, engine_url
        self._table_file, self._project_file = table_file, project_file
        self._file_stamp: tuple[int, int] | None = None
        self._ingester = Ingester(tools.records, journal, keep_days=project.gateway.journal_keep)
        self._teller = Teller(tools.records, journal, telemetry) if telemetry else None
        self._troubles = Troubles()
        self._loader = Loader(self._load, patience_s=patience_s, retry_s=_LOAD_RETRY_S)
        self._variants = Variants(tools.records, engine_url, self._loader, self._troubles)
        self._mirror = Mirror(self._show, self._troubles)
        self._looks = Looks()
        self._turn = threading.Lock()

    def tick(self) -> RouteTable:
        """Read what happened, decide, publish. Raises what the records raise; the next tick tries again."""
        with self._turn:
            self._read_project()
            with self._troubles.around("the journal"):
                self._ingester.ingest_once()
            self._step()
            # What is in the engine already goes out before anything is loaded: a rollback waits for no adapter.
            wanted = self._build()
            table = self._publish(wanted)
            if self._load_missing(wanted):
                table = self._publish(wanted)
            latest = self._tools.records.rollouts.latest()
            self._settle(latest)
            self._mirror.follow(latest)
            return table

    def run(self, stop: threading.Event, interval_s: float = 0.25) -> None:
        """Tick until `stop` is set, and once more to ingest the rest."""
        telling = threading.Thread(target=self._teller.run, args=(stop,), name="telemetry") if self._teller else None
        if telling:
            telling.start()
        while not stop.wait(interval_s):
            self._tick_patiently()
        self._tick_patiently()
        if self._teller and telling:
            self._teller.close()
            telling.join()
        self._mirror.finish(_MIRROR_TIMEOUT_S)

    def forget_engine(self) -> None:
        """The engine was started anew and holds no adapters: load them again at the next tick."""
        self._loader.forget()

    def _tick_patiently(self) -> None:
        with self._troubles.around("the control loop"):
            self.tick()

    def _read_project(self) -> None:
        if self._project_file is None:
            return
        with self._troubles.around("a look at the project file"):
            seen = self._project_file.stat()
            stamp = (seen.st_mtime_ns, seen.st_size)
            if stamp == self._file_stamp:
                return
            self._file_stamp = stamp
            with self._troubles.around("the project file"):
                self._project = load_project(self._project_file)

    def _step(self) -> None:
        running = self._tools.records.rollouts.running()
        self._looks.forget_others(running)
        for rollout in running:
            with self._troubles.around(f"the rollout {rollout.id} of '{rollout.service}'"):
                step_rollout(self._tools, self._project, rollout, self._looks)

    def _settle(self, latest: list[Rollout]) -> None:
        for rollout in latest:
            with self._troubles.around(f"the stages of '{rollout.service}'"):
                settle_stages(self._tools, rollout.service)

    def _build(self) -> dict[str, Service | None]:
        """Each service as it should be served. One that cannot be told is left out: it stays as it is."""
        built: dict[str, Service | None] = {}
        for name in sorted(self._project.services):
            with self._troubles.around(f"the service '{name}'"):
                built[name] = build_service(self._tools.records, self._project, name, self._engine_url)
        return built

    def _publish(self, wanted: dict[str, Service | None]) -> RouteTable:
        """Publish what the engine can serve of it; where that is not the champion, what was published before."""
        table = published(self._tools.records)
        before = {service.name: service for service in table.services} if table else {}
        services = []
        for name in sorted(self._project.services):
            last = before.get(name)
            service = self._servable(wanted[name], last) if name in wanted else last
            if service is not None:
                services.append(self._variants.added(service, self._project.services[name]))
        for name, config in self._project.hosted.items():
            services.append(self._variants.added(hosted_service(self._project, name), config))
        services.sort(key=lambda service: service.name)
        return publish(self._tools.records, tuple(services), self._table_file, tenants_of(self._project))

    def _servable(self, wanted: Service | None, last: Service | None) -> Service | None:
        if wanted is None:
            return None
        if not self._loader.holds(wanted.champion.release):
            if last is None:
                return None
            fails = last.challenger is not None and self._loader.error(last.challenger.release) is not None
            return plain_service(last) if fails or last.rollout_id != wanted.rollout_id else last
        if wanted.challenger and not self._loader.holds(wanted.challenger.release):
            return plain_service(wanted)
        return wanted

    def _load_missing(self, wanted: dict[str, Service | None]) -> bool:
        """Every adapter must be in the engine before the table that names it is published. Champions come first."""
        services = [service for service in wanted.values() if service]
        variants = [one.champion for one in services] + [one.challenger for one in services if one.challenger]
        wanted_beside = [self._variants.wanted(config) for config in self._serving()]
        variants += [variant for beside in wanted_beside for variant in beside]
        is_more = self._loader.bring(dict.fromkeys(variant.release for variant in variants))
        for variant in variants:
            self._troubles.note(f"{variant.ref} in the engine", self._loader.error(variant.release))
        return is_more

    def _serving(self) -> list[ServingConfig]:
        return [*self._project.services.values(), *self._project.hosted.values()]

    def _load(self, digest: str) -> None:
        asyncio.run(self._load_into_engine(digest))

    async def _load_into_engine(self, digest: str) -> None:
        engine = self._connect()
        try:
            await load_release(self._tools, engine, self._tools.records.releases.get(digest))
        finally:
            await engine.close()

    def _show(self, service: str, digest: str, alias: str) -> None:
        mirror_release(self._tools, self._project, service, digest, alias)
