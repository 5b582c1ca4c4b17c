"""Everything that serves, started and kept running: the engine, the gateway, the control loop (`modelyard up`)."""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

import httpx

from modelyard.core.clock import monotonic_s
from modelyard.core.errors import Conflict, Unavailable
from modelyard.workflows.control import Control
from modelyard.workflows.tools import Progress, silent

if TYPE_CHECKING:
    from modelyard.adapters.processes import ServerProcess
    from modelyard.app import App

_MAX_RESTARTS = 3
_WATCH_S = 0.2
_SETTLE_POLL_S = 0.02
log = logging.getLogger(__name__)


class Serving:
    """The running parts of one project. A context manager: everything ends with the block."""

    def __init__(
        self,
        gateway: "ServerProcess",
        engine: "ServerProcess | None",
        engine_url: str,
        control: Control,
        undo: ExitStack,
    ) -> None:
        self.gateway_url, self.engine_url, self.control = gateway.url, engine_url, control
        self._gateway, self._engine, self._undo = gateway, engine, undo
        self._restarts = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=control.run, args=(self._stop,), name="control", daemon=True)
        self._thread.start()

    def addresses(self) -> dict[str, str]:
        """Where things answer."""
        return {"gateway": self.gateway_url, "engine": self.engine_url}

    def settle(self, timeout_s: float = 30.0) -> None:
        """Return when the gateway serves by what is recorded now. Raises: Unavailable where it does not get there."""
        version = self.control.tick().version
        deadline_s = monotonic_s() + timeout_s
        while (seen := self._table_version()) < version:
            if monotonic_s() > deadline_s:
                raise Unavailable(
                    f"the gateway at {self.gateway_url} serves by route table {seen} after {timeout_s:g} s",
                    expected=f"version {version}",
                    fix=f"see its log, {self._gateway.log}",
                )
            time.sleep(_SETTLE_POLL_S)

    def wait(self, stop: threading.Event) -> None:
        """Watch the children until `stop` is set; one that ends is started again, three times at most.

        Raises: Unavailable with the end of its log where one keeps ending.
        """
        while not stop.wait(_WATCH_S):
            for child in (self._gateway, self._engine):
                if child is not None and not child.running:
                    self._restart(child)

    def stop(self) -> None:
        """End everything: the gateway first, so that it can drain; then ingest its last answers; then the engine."""
        self._gateway.stop()
        self._stop.set()
        self._thread.join()
        self._undo.close()

    def _table_version(self) -> int:
        try:
            reply = httpx.get(f"{self.gateway_url}/ready", timeout=5.0)
            return int(reply.json().get("table_version", 0))
        except (httpx.HTTPError, ValueError):
            return 0

    def _restart(self, child: "ServerProcess") -> None:
        self._restarts += 1
        if self._restarts > _MAX_RESTARTS:
            child.check()
        log.warning("the %s ended and is started again; see %s", child.what, child.log)
        child.start()
        child.wait_ready()
        if child is self._engine:
            self.control.forget_engine()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def serve(app: "App", *, gateway_port: int | None = None, engine_url: str = "", progress: Progress = silent) -> Serving:
    """Start everything and return when requests are answered. `gateway_port` and `engine_url` outrank the project file.

    Raises: PortBusy, Unavailable, Conflict where the project is being served already. Nothing is left running then.
    """
    with ExitStack() as undo:
        undo.enter_context(_only_one(app))
        gateway = undo.enter_context(app.gateway_process(gateway_port))
        engine = None
        url = engine_url or app.project.engine.url
        if not url:
            engine = undo.enter_context(app.engine_process())
            url = engine.url
            engine.wait_ready(progress=lambda seconds: progress(seconds, 0, "waiting for the engine"))
        control = Control(
            app.tools,
            app.project,
            lambda: app.connect(url),
            url,
            journal=app.places.journal,
            table_file=app.places.route_table,
        )
        control.tick()
        gateway.wait_ready(progress=lambda seconds: progress(seconds, 0, "waiting for the gateway"))
        return Serving(gateway, engine, url, control, undo.pop_all())


@contextmanager
def _only_one(app: "App") -> Iterator[None]:
    """Hold the project's lock, which the system gives back however we end. Raises: Conflict."""
    app.places.state.mkdir(parents=True, exist_ok=True)
    with app.places.lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise Conflict(
                f"the project in {app.places.root} is being served by process {file.read().strip() or 'unknown'}",
                fix="stop that one, or use it",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
