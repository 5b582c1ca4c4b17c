"""Connections: one engine and the two ways in, `read` and `write`. Knows nothing of tables."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from modelyard.adapters.records.failures import translated
from modelyard.core.clock import monotonic_s
from modelyard.core.errors import InvalidInput, MissingExtra, Unavailable

LOCK_TIMEOUT_S = 30
_EXPECTED = "sqlite:///folder/records.db or postgresql://user:password@host/database"


class Connections:
    """A pool of connections to one database. `place` names it without its password."""

    def __init__(self, url: str) -> None:
        parsed = _parse(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self.place = f"the records file {parsed.database}"
            _make_folder(Path(parsed.database or ""), self.place)
            options: dict[str, Any] = {"connect_args": {"timeout": LOCK_TIMEOUT_S}}
        else:
            self.place = f"the records at {parsed.set(drivername='postgresql').render_as_string(hide_password=True)}"
            options = {"connect_args": {"connect_timeout": 5}, "pool_pre_ping": True}
        try:
            # Parameters hold request bodies: they stay out of tracebacks. Row counts say what was new.
            always = {"preserve_rowcount": True}
            self._engine = create_engine(parsed, hide_parameters=True, execution_options=always, **options)
        except ModuleNotFoundError as error:
            raise MissingExtra("psycopg", "postgres") from error
        if self.is_sqlite:
            event.listen(self._engine, "connect", _prepare_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)
            with translated(self.place):
                self._enter_wal()
            event.listen(self._engine, "do_connect", _open_what_is_there)
        self._writer = self._engine.execution_options(writes=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection in a transaction that only reads."""
        with translated(self.place), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection in a transaction that writes; on SQLite it waits here for its turn, not half-way through."""
        with translated(self.place), self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Give back every connection."""
        self._engine.dispose()

    def _enter_wal(self) -> None:
        """Let readers and a writer work side by side (write-ahead log). SQLite does not wait for this lock itself."""
        deadline_s = monotonic_s() + LOCK_TIMEOUT_S
        while True:
            raw = self._engine.raw_connection()
            try:
                raw.cursor().execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorname != "SQLITE_BUSY" or monotonic_s() > deadline_s:
                    raise
                time.sleep(0.02)
            finally:
                raw.close()


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except ArgumentError as error:
        raise InvalidInput("the records' URL cannot be read", expected=_EXPECTED) from error
    if backend == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed.set(drivername="sqlite")
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise InvalidInput(
        f"the records cannot be kept at {parsed.render_as_string(hide_password=True)}", expected=_EXPECTED
    )


def _make_folder(file: Path, place: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(
            f"the folder of {place} cannot be made: {error.strerror}", fix="choose a folder that you may write to"
        ) from error


def _prepare_sqlite(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # transactions begin where we say so, not before the first write
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA synchronous=NORMAL")


def _open_what_is_there(_dialect: Any, _record: Any, positional: list[Any], named: dict[str, Any]) -> None:
    # SQLite would make an empty database where the file has been moved away.
    positional[0] = Path(positional[0]).absolute().as_uri() + "?mode=rw"
    named["uri"] = True


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
