"""Processes of the benchmarks: started in a session of their own, measured from /proc, ended with their children."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / (1 << 20)
_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 20.0


class Process:
    """A command with everything it starts. What it says goes to `log`."""

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        environment: dict[str, str] | None = None,
        cores: set[int] | None = None,
        user: int | None = None,
    ) -> None:
        self.log = log
        raise_file_limit()
        with log.open("ab") as out:
            self._popen = subprocess.Popen(
                [str(part) for part in command],
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
                user=user,
                cwd=log.parent,
                preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
            )
        self.pid = self._popen.pid

    @property
    def alive(self) -> bool:
        """Whether the first process of it runs."""
        return self._popen.poll() is None

    def cpu_s(self) -> float:
        """User and system seconds of all its processes so far, the ended ones included."""
        ticks = 0
        for pid, fields in session(self.pid):
            ticks += sum(int(field) for field in fields[11 : 15 if pid == self.pid else 13])
        return ticks / _TICKS_PER_S

    def resident_mb(self) -> float:
        """The resident memory of all its processes now."""
        return sum(int(fields[21]) for _, fields in session(self.pid)) * _PAGE_MB

    def wait_for(self, port: int) -> None:
        """Wait until something listens on a port. Raises: SystemExit with the end of the log."""
        end_s = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < end_s and self.alive:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise SystemExit(f"nothing listens on port {port}. The end of its log:\n{self.tail()}")

    def tail(self) -> str:
        """The last lines it said."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def kill(self) -> None:
        """End all of it at once, as a crash would."""
        self._signal(signal.SIGKILL)
        self._popen.wait()

    def stop(self) -> None:
        """Ask it to end, then make it."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(_STOP_TIMEOUT_S)
        self.kill()

    def _signal(self, number: signal.Signals) -> None:
        for pid in [pid for pid, _ in session(self.pid)] or [self.pid]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


class Peak:
    """The largest resident memory of a process while this is entered, sampled ten times a second."""

    def __init__(self, process: Process) -> None:
        self.mb = 0.0
        self._process = process
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.mb = max(self.mb, self._process.resident_mb())
            if self._stop.wait(0.1):
                return


def session(leader: int) -> list[tuple[int, list[str]]]:
    """The processes of a session with the fields of their `stat` from the state on."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                fields = (path / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended just now
            if int(fields[3]) == leader:
                found.append((int(path.name), fields))
    return found


def free_port() -> int:
    """A port of the loopback that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def raise_file_limit() -> None:
    """Let this process and its children open as many files as they may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
