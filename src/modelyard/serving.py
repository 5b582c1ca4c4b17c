"""Everything that serves, started and kept running: the engine, the gateway, the control loop (`modelyard up`)."""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

import httpx

from modelyard.core.clock import monotonic_s
from modelyard.core.errors import JobFailed, PortBusy, Unavailable
from modelyard.core.locks import hold
from modelyard.settings import Places
from modelyard.workflows.control import Control
from modelyard.workflows.tools import Progress, silent

if TYPE_CHECKING:
    from modelyard.adapters.processes import ServerProcess
    from modelyard.app import App

# A child that ends at once is given up after half a minute; one that ends now and then is started again for ever.
_PAUSES_S = (0.0, 1.0, 4.0, 10.0, 15.0)
_WINDOW_S = 600.0
_START_TIMEOUT_S = 120.0
_WATCH_S = 0.2
_SETTLE_POLL_S = 0.02
log = logging.getLogger(__name__)


class Keeper:
    """Keeps one child running: started again where it ends, five times in ten minutes, after growing pauses."""

    def __init__(self, child: "ServerProcess") -> None:
        self._child = child
        self._starts: deque[float] = deque()
        self._due_s: float | None = None
        self._starting = False

    def look(self) -> bool:
        """Start the child again where it has ended; return whether it has just come back. Never waits for it.

        Raises: Unavailable with the end of its log, or PortBusy, where it keeps ending.
        """
        if not self._child.running:
            self._start_again()
        elif self._starting and self._child.ready():
            self._starting = False
            log.warning("the %s is back", self._child.what)
            return True
        elif self._starting and monotonic_s() > self._starts[-1] + _START_TIMEOUT_S:
            self._child.stop()
        return False

    def _start_again(self) -> None:
        if self._due_s is None:
            self._due_s = monotonic_s() + self._next_pause_s()
            log.warning("the %s ended and will be started again; see %s", self._child.what, self._child.log)
        if monotonic_s() < self._due_s:
            return
        self._due_s = None
        self._starting = True
        self._starts.append(monotonic_s())
        try:
            self._child.start()
        except PortBusy as error:
            # The next look finds it ended still, and pauses.
            log.warning("the %s could not be started: %s", self._child.what, error.seen)

    def _next_pause_s(self) -> float:
        while self._starts and self._starts[0] < monotonic_s() - _WINDOW_S:
            self._starts.popleft()
        if len(self._starts) == len(_PAUSES_S):
            self._child.check()
        return _PAUSES_S[len(self._starts)]


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
        self._gateway, self._undo = gateway, undo
        self._keep_gateway = Keeper(gateway)
        self._keep_engine = Keeper(engine) if engine else None
        self._stop = threading.Event()
        self._control_error: Exception | None = None
        self._thread = threading.Thread(target=self._run_control, name="control", daemon=True)
        self._thread.start()

    def addresses(self) -> dict[str, str]:
        """Where things answer."""
        return {"gateway": self.gateway_url, "engine": self.engine_url}

    def launched(self) -> list[str]:
        """The services that are served now, by the route table: those with a champion."""
        return [service.name for service in self.control.tick().services]

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
        """Watch until `stop` is set. Raises: what `watch` raises."""
        while not stop.wait(_WATCH_S):
            self.watch()

    def watch(self) -> None:
        """Look once at every part, and start again a child that has ended. Call it a few times a second.

        Raises: Unavailable with the end of its log where a child keeps ending; JobFailed where the control loop ended.
        """
        if not self._thread.is_alive():
            raise JobFailed(
                f"the control loop ended: {self._control_error!r}", fix="start it again; nothing recorded is lost"
            ) from self._control_error
        self._keep_gateway.look()
        if self._keep_engine and self._keep_engine.look():
            self.control.forget_engine()

    def stop(self) -> None:
        """End everything: the gateway first, so that it can drain; then ingest its last answers; then the engine."""
        self._gateway.stop()
        self._stop.set()
        self._thread.join()
        self._undo.close()

    def _run_control(self) -> None:
        try:
            self.control.run(self._stop)
        except Exception as error:
            # Told by `watch`, in the thread of who started us.
            log.exception("the control loop ended")
            self._control_error = error

    def _table_version(self) -> int:
        try:
            # Our own child; its certificate is for the name that its callers know.
            reply = httpx.get(f"{self.gateway_url}/ready", timeout=5.0, verify=False)  # noqa: S501
            return int(reply.json().get("table_version", 0))
        except (httpx.HTTPError, ValueError):
            return 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def serve(app: "App", *, gateway_port: int | None = None, engine_url: str = "", progress: Progress = silent) -> Serving:
    """Start everything and return when requests are answered. `gateway_port` and `engine_url` outrank the project file.

    Hold the project (`held`) meanwhile. Raises: PortBusy, Unavailable. Nothing is left running then.
    """
    with ExitStack() as undo:
        engine = None
        url = engine_url or app.project.engine.url
        # Without services of ours there is nothing for an engine of ours to serve: all is hosted elsewhere.
        if not url and app.project.services:
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
            project_file=app.project_file,
            telemetry=app.telemetry(),
        )
        control.tick()
        # Not sooner: it would answer by the last table, whose engine is gone.
        gateway = undo.enter_context(app.gateway_process(gateway_port))
        gateway.wait_ready(progress=lambda seconds: progress(seconds, 0, "waiting for the gateway"))
        return Serving(gateway, engine, url, control, undo.pop_all())


@contextmanager
def held(places: Places) -> Iterator[None]:
    """Hold a project: nobody else serves it, runs its demonstration or lays it out anew meanwhile. Raises: Conflict."""
    if places.root.is_dir():
        places.state.mkdir(parents=True, exist_ok=True)
    with hold(places.lock, f"the project in {places.root} is in use", fix="stop that one, or use it"):
        yield
