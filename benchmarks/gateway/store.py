"""The stores of the kill test: SQLite beside the ingester, or a PostgreSQL of its own that can be killed."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Protocol

from processes import Process, free_port

_ATTEMPTS = 100


class Store(Protocol):
    """A store by its URL. Entered, it runs. `own_process` says whether it can be killed by itself."""

    url: str
    own_process: bool

    def kill(self) -> None:
        """Kill it, and start it again."""
        ...

    def __enter__(self) -> "Store": ...
    def __exit__(self, *_: object) -> None: ...


class Sqlite:
    """A file, written by the ingester's process and by it alone."""

    own_process = False

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"

    def kill(self) -> None:
        """Nothing to kill: it dies with the ingester."""

    def __enter__(self) -> "Sqlite":
        return self

    def __exit__(self, *_: object) -> None: ...


class Postgres:
    """A private server in a temporary folder, with the durability that PostgreSQL has by default."""

    own_process = True

    def __init__(self) -> None:
        self._port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="modelyard-kill-"))
        self._binaries = _find_binaries()
        self._user = pwd.getpwnam("postgres").pw_uid if os.geteuid() == 0 else None
        if self._user is not None:  # PostgreSQL refuses to run as root
            os.chown(self._folder, self._user, -1)
        self.url = f"postgresql://postgres@127.0.0.1:{self._port}/postgres"

    def __enter__(self) -> "Postgres":
        command = [self._binaries / "initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        command += ["--locale=C"]
        subprocess.run(command, check=True, capture_output=True, user=self._user, cwd=self._folder)
        self._process = self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self) -> None:
        """Kill the server and start it again, as soon as the last of its children has noticed."""
        self._process.kill()
        self._process = self._start()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _start(self) -> Process:
        command = [self._binaries / "postgres", "-D", self._data, "-p", str(self._port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self._folder}"]
        for _ in range(_ATTEMPTS):
            process = Process(command, self._folder.parent / f"{self._folder.name}.log", user=self._user)
            time.sleep(0.3)
            if process.alive:
                process.wait_for(self._port)
                return process
        raise SystemExit(f"PostgreSQL does not start:\n{process.tail()}")


def _find_binaries() -> Path:
    """The folder that holds `initdb` and `postgres`: Debian's newest, else the PATH's."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    found = str(debian[-1]) if debian else shutil.which("initdb")
    if found is None:
        raise SystemExit("PostgreSQL is not installed: apt-get install postgresql")
    return Path(found).resolve().parent
