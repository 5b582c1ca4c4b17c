"""Servers as child processes, engines and gateways: started, waited for, watched, and ended with us."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx

from modelyard.core.clock import monotonic_s
from modelyard.core.errors import PortBusy, Unavailable

_LOG_LINES = 15
_LOG_BYTES = 8192
_POLL_S = 0.1


class ServerProcess:
    """A running server. As a context manager it is stopped at the end of the block.

    It runs under a guard (guard.py), so that it ends also where this process is killed.
    """

    def __init__(
        self,
        what: str,
        command: Sequence[str],
        *,
        url: str,
        log: Path,
        ready_path: str = "/health",
        env: Mapping[str, str] | None = None,
        grace_s: float = 10.0,
        linger_s: float = 0.0,
    ) -> None:
        """Start the command; what it prints is added to `log`. `env` is laid over this process's environment.

        `what` is its name in messages. Where this process is killed, it ends after `linger_s`, so that those who ask it
        can end before. Raises: PortBusy where something answers at the URL already.
        """
        self.what = what
        self.url = url.rstrip("/")
        self.log = log
        self.command = tuple(command)
        self._ready_url = self.url + ready_path
        self._env = {**os.environ, **(env or {})}
        self._grace_s = grace_s
        self._linger_s = linger_s
        self.start()

    def start(self) -> None:
        """Start the command (anew, where it has ended). Raises: PortBusy."""
        _refuse_busy_port(self.url)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        guard = [sys.executable, "-m", "modelyard.adapters.guard", str(self._grace_s), str(self._linger_s)]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [*guard, *self.command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._env,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The guard's process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there, healthy or not."""
        return self._process.poll() is None

    def check(self) -> None:
        """Raises: Unavailable, with the end of the log, where the process has ended; PortBusy where that was why."""
        code = self._process.poll()
        if code is None:
            return
        if code == PortBusy.exit_code:
            raise PortBusy(self.log_end(), fix="stop the other process, or choose another port")
        raise Unavailable(
            f"the {self.what} at {self.url} ended with code {code}; the end of {self.log}:\n{self.log_end()}",
            fix="see the log; the command was: " + " ".join(self.command),
        )

    def ready(self) -> bool:
        """Whether it says now that it is ready."""
        with _client(1.0) as client:
            return self._healthy(client)

    def wait_ready(self, timeout_s: float = 120.0, progress: Callable[[float], None] | None = None) -> float:
        """Wait until it says that it is ready; return the seconds it took. `progress` hears the seconds waited so far.

        Raises: Unavailable where the process ends, or where the time is up.
        """
        started_s = monotonic_s()
        with _client(2.0) as client:
            while True:
                self.check()
                waited_s = monotonic_s() - started_s
                if self._healthy(client):
                    return monotonic_s() - started_s
                if waited_s > timeout_s:
                    raise Unavailable(
                        f"the {self.what} at {self.url} was not ready after {timeout_s:g} s; the end of {self.log}:\n"
                        + self.log_end()
                    )
                if progress:
                    progress(waited_s)
                time.sleep(_POLL_S)

    def stop(self) -> None:
        """End it: SIGTERM, then SIGKILL after the grace. Stopping twice is no error."""
        if self._process.stdin:
            with suppress(OSError):
                self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(self._grace_s + 5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log_end(self) -> str:
        """The last lines this process wrote."""
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._log_start, size - _LOG_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-_LOG_LINES:])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _healthy(self, client: httpx.Client) -> bool:
        with suppress(httpx.HTTPError):
            return client.get(self._ready_url).status_code == httpx.codes.OK
        return False


def _client(timeout_s: float) -> httpx.Client:
    # A child of ours on an address of ours: its certificate is for the name that its callers know.
    return httpx.Client(timeout=timeout_s, verify=False)  # noqa: S501


def _refuse_busy_port(url: str) -> None:
    """Else the health of another process would be taken for that of the engine to come."""
    parts = urlsplit(url)
    with suppress(OSError), socket.create_connection((parts.hostname or "", parts.port or 80), timeout=1.0):
        raise PortBusy(f"something answers at {url} already", fix="stop the other process, or choose another port")


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
