"""A private PostgreSQL server for the tests: its own folder, its own port, no durability, gone with this process.

Use it by importing the fixture into a `conftest.py`: `from tests.postgres import postgres_url`. With pytest-xdist each
worker has a server of its own.
"""

import atexit
import contextlib
import ctypes
import functools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.ids import new_id

HOW_TO_GET_IT = "PostgreSQL is not installed: apt-get install postgresql (or put `initdb` and `postgres` on the PATH)"
_START_TIMEOUT_S = 60
_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "listen_addresses": "127.0.0.1",
}


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server. Its user needs no password on loopback."""

    port: int

    def url(self, database: str) -> str:
        """The URL of one of its databases."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def make_database(self) -> str:
        """Make an empty database and return its URL."""
        name = "test_" + new_id().replace("-", "")
        self._execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        self._execute(f'DROP DATABASE IF EXISTS "{url.rpartition("/")[2]}" WITH (FORCE)')

    def _execute(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[arg-type]


def start_or_skip() -> Server:
    """This process's server, started at the first call; skips the test where PostgreSQL is not there."""
    pytest.importorskip("psycopg", reason="pip install 'modelyard[postgres]'")
    binaries = find_binaries()
    if binaries is None:
        pytest.skip(HOW_TO_GET_IT)
    return _start(binaries)


def find_binaries() -> Path | None:
    """The folder that holds `initdb` and `postgres`: Debian's newest, else the PATH's."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if debian:
        return debian[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """The URL of an empty PostgreSQL database that is this test's own."""
    server = start_or_skip()
    url = server.make_database()
    yield url
    server.drop_database(url)


@functools.cache
def _start(binaries: Path) -> Server:
    folder = Path(tempfile.mkdtemp(prefix="modelyard-postgres-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    identity = _identity(folder)
    data = folder / "data"
    command = [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, **identity)
    if made.returncode != 0:
        raise RuntimeError(f"initdb failed: {made.stderr}")
    port = _free_port()
    settings = _SETTINGS | {"port": str(port), "unix_socket_directories": str(folder)}
    arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [binaries / "postgres", "-D", data, *arguments],
            cwd=folder,
            stdout=log,
            stderr=log,
            preexec_fn=_die_with_parent,
            **identity,
        )
    atexit.register(_stop, process)
    _wait(process, port, folder / "log")
    return Server(port=port)


def _identity(folder: Path) -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then it runs as the user that Debian's package made for it."""
    if os.geteuid() != 0:
        return {}
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("PostgreSQL does not run as root, and there is no user 'postgres': run the tests as another user")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _die_with_parent() -> None:
    """Ask the kernel for a fast shutdown when the test process ends, even by SIGKILL (Linux)."""
    pr_set_pdeathsig = 1
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGINT)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    import psycopg

    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres", connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            time.sleep(0.05)
    raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
