"""The schema: brings a database up to this version, whole or not at all, by one process at a time."""

import threading
from pathlib import Path

from sqlalchemy import Connection, column, func, inspect, select, table

from modelyard.adapters.records.connections import Connections
from modelyard.adapters.records.tables import HEAD, VERSION_TABLE, metadata
from modelyard.core.errors import InvalidInput

_MIGRATIONS = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = 0x6D6F_6465_6C79_6172
_one_at_a_time = threading.Lock()  # Alembic keeps its context in a module


def upgrade(connections: Connections) -> None:
    """Bring the tables to `HEAD`. Where they are there already, Alembic is not even imported.

    Raises: InvalidInput where a newer version made them, or where the database belongs to another program.
    """
    with connections.read() as connection:
        if _version(connection) == HEAD:
            return
    with _one_at_a_time, connections.write() as connection:
        if not connections.is_sqlite:
            connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        version = _version(connection)
        if version != HEAD:
            _run_alembic(connection, version, connections.place)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.scalar(select(column("version_num")).select_from(table(VERSION_TABLE)))


def _run_alembic(connection: Connection, version: str | None, place: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        raise InvalidInput(
            f"{place} was made by a newer Modelyard (its tables are of version {version})",
            expected=f"version {HEAD} or older",
            fix="pip install --upgrade modelyard",
        )
    if version is None:
        _refuse_strangers(connection, place)
    command.upgrade(config, "head")


def _refuse_strangers(connection: Connection, place: str) -> None:
    taken = sorted(set(inspect(connection).get_table_names()) & set(metadata.tables))
    if taken:
        raise InvalidInput(
            f"{place} already has tables of another program: {', '.join(taken)}",
            expected="an empty database",
            fix="give Modelyard a database of its own",
        )
