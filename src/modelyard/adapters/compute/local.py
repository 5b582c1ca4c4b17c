"""Batch work as a child process on this machine, or as several that torchrun starts."""

import math
import os
import shlex
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from modelyard.core.clock import iso, now_ms
from modelyard.core.errors import JobFailed
from modelyard.ports.compute import Progress

TAIL_LINES = 30
GRACE_S = 5.0
_GUARD = "modelyard.adapters.guard"
_KILLED = 128 + 9
# Processes of one host need no network, and must not be reached by it.
_ON_LOOPBACK = dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), "lo0" if sys.platform == "darwin" else "lo")


class LocalCompute:
    """Runs a command under a guard, so that it never outlives us, and keeps what it says besides its progress."""

    def __init__(self, log: Path | None = None, *, grace_s: float = GRACE_S, processes: int = 1) -> None:
        """Lines that are no progress are added to `log`. A command that must end has `grace_s` to save its work.

        `processes` is how many of them work together; each knows its place by the environment that torchrun sets.
        """
        self._log = log
        self._grace_s = grace_s
        self._processes = processes

    def run(self, command: Sequence[str], *, env: Mapping[str, str], progress: Progress) -> None:
        """Run a command to its end; `env` is laid over this process's environment.

        Raises: JobFailed with the last lines it printed; whatever `progress` raises, after ending the command.
        """
        kills_before = _memory_kills()
        if self._processes > 1:
            # torchrun kills after 30 s, which can be too short for a checkpoint.
            patience = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(math.ceil(self._grace_s))}
            command, env = _together(command, self._processes), {**_ON_LOOPBACK, **patience, **env}
        process = subprocess.Popen(
            [sys.executable, "-m", _GUARD, str(self._grace_s), "0", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **env},
            start_new_session=True,
        )
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        assert process.stderr is not None  # noqa: S101
        said = _Said(self._log, command)
        errors = threading.Thread(target=said.read, args=(process.stderr,), daemon=True)
        errors.start()
        try:
            for line in process.stdout:
                event = _event(line)
                said.add(line) if event is None else progress(event)
            process.wait()
        finally:
            process.stdin.close()  # the guard takes this as its sign to end the command
            _end(process, self._grace_s + GRACE_S)
            errors.join(timeout=GRACE_S)
            said.close()
        if process.returncode != 0:
            raise _failure(command, process.returncode, said, out_of_memory=_memory_kills() > kills_before)


def _together(command: Sequence[str], processes: int) -> list[str]:
    """A command `python -m MODULE ...` as several processes, of which the end of one ends all."""
    python, *module = command
    launcher = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(processes),
        "--max-restarts",
        "0",
    ]
    return [python, *launcher, *module]


class _Said:
    """The last lines of a command, and all of them in a log file."""

    def __init__(self, log: Path | None, command: Sequence[str]) -> None:
        self.log = log
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            self._file = log.open("ab", buffering=0)
            self._file.write(f"--- {iso(now_ms())} {shlex.join(command)}\n".encode())

    def add(self, line: bytes) -> None:
        with self._lock:
            self.tail.append(line.decode(errors="replace").rstrip())
            if self._file is not None:
                self._file.write(line)

    def read(self, stream: IO[bytes]) -> None:
        for line in stream:
            self.add(line)

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None


def _event(line: bytes) -> dict[str, Any] | None:
    """The JSON object on a line, or None where it holds anything else."""
    if not line.startswith(b"{"):
        return None
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.MsgspecError:
        return None


def _end(process: subprocess.Popen[bytes], within_s: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(within_s)
        return
    process.kill()
    process.wait()


def _failure(command: Sequence[str], code: int, said: _Said, *, out_of_memory: bool) -> JobFailed:
    name = " ".join(Path(word).name if word == command[0] else word for word in command[:3])
    tail = "\n".join(said.tail) or "it said nothing"
    fix = f"see {said.log}" if said.log else ""
    if code == _KILLED and out_of_memory:
        return JobFailed(
            f"'{name}' was ended by the system because memory ran out:\n{tail}",
            fix="lower batch_size or sequence_length, or give the machine more memory",
        )
    if code == _KILLED:
        return JobFailed(f"'{name}' was killed from outside (SIGKILL):\n{tail}", fix=fix or "run it again")
    return JobFailed(f"'{name}' ended with code {code}:\n{tail}", expected="code 0", fix=fix)


def _memory_kills() -> int:
    """How many processes the kernel has ended so far because memory ran out, or 0 where it does not tell."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
