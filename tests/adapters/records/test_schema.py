"""The migrations and the tables agree; what was decided cannot be rewritten; processes may open at once."""

import multiprocessing
import sqlite3
from contextlib import closing
from multiprocessing.pool import Pool
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, text

from modelyard.adapters.records import schema
from modelyard.adapters.records.store import SqlRecords, open_records
from modelyard.adapters.records.tables import HEAD, VERSION_TABLE, metadata
from modelyard.core.errors import InvalidInput
from tests.adapters.records.values import (
    a_dataset,
    a_move,
    a_release,
    a_report,
    a_run,
    a_table,
    a_verdict,
    an_approval,
    an_export,
)

GROWING = ["datasets", "exports", "releases", "stage_moves", "reports", "verdicts", "approvals", "route_tables", "runs"]


def bare_engine(url: str) -> Engine:
    """The database as another program sees it: without anything that our connections set."""
    return create_engine(url.replace("postgresql:", "postgresql+psycopg:"))


def test_the_migrations_make_exactly_the_tables(empty_url: str) -> None:
    open_records(empty_url).close()
    with bare_engine(empty_url).connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
        assert connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}")) == HEAD


def test_the_tables_know_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema._MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_partial_indexes_are_partial(empty_url: str) -> None:
    open_records(empty_url).close()
    found = {index["name"]: index for index in inspect(bare_engine(empty_url)).get_indexes("rollouts")}
    assert found["uq_rollouts_running"]["unique"]
    assert any("where" in option for option in found["uq_rollouts_running"]["dialect_options"])


def test_a_newer_database_is_refused_and_left_alone(empty_url: str) -> None:
    open_records(empty_url).close()
    with bare_engine(empty_url).begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(InvalidInput, match="newer Modelyard"):
        open_records(empty_url)
    with bare_engine(empty_url).connect() as connection:
        assert connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}")) == "9999"


def test_a_database_of_another_program_is_refused_and_left_alone(empty_url: str, tmp_path: Path) -> None:
    (tmp_path / "yard").mkdir()
    with bare_engine(empty_url).begin() as connection:
        connection.execute(text("CREATE TABLE runs (experiment TEXT)"))
        connection.execute(text("CREATE TABLE alembic_version (version_num TEXT)"))
    with pytest.raises(InvalidInput, match="another program: runs"):
        open_records(empty_url)
    assert set(inspect(bare_engine(empty_url)).get_table_names()) == {"runs", "alembic_version"}


def test_a_migration_that_fails_leaves_nothing(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic import op

    def explode(statement: str) -> None:
        raise RuntimeError("in the middle of it")

    monkeypatch.setattr(op, "execute", explode)
    with pytest.raises(RuntimeError, match="middle"):
        open_records(empty_url)
    assert inspect(bare_engine(empty_url)).get_table_names() == []
    monkeypatch.undo()
    open_records(empty_url).close()


def test_many_processes_open_a_new_database_at_once(empty_url: str) -> None:
    with multiprocessing.get_context("fork").Pool(6) as pool:
        outcomes = _open_at_once(pool, empty_url)
    assert outcomes == [a_dataset()] * 6


def _open_at_once(pool: Pool, url: str) -> list[object]:
    return pool.map(_open_and_add, [url] * 6, chunksize=1)


def _open_and_add(url: str) -> object:
    records = open_records(url)
    records.datasets.add(a_dataset())
    found = records.datasets.find("support")
    records.close()
    return found


class TestWhatWasDecidedStays:
    """Another program with full rights tries to rewrite history."""

    @pytest.fixture(autouse=True)
    def _one_row_each(self, records: SqlRecords, records_url: str) -> None:
        release, verdict = a_release(), a_verdict()
        records.datasets.add(a_dataset())
        records.exports.add(an_export())
        records.releases.add(release)
        records.releases.move(a_move(release))
        records.reports.add(a_report())
        records.verdicts.add(verdict)
        records.verdicts.approve(an_approval(verdict))
        records.routes.add_table(a_table())
        records.runs.put(a_run(state="finished"))
        self.engine = bare_engine(records_url)
        self.before = self._snapshot()

    def _snapshot(self) -> dict[str, list[object]]:
        with self.engine.connect() as connection:
            return {table: connection.execute(text(f"SELECT * FROM {table}")).all() for table in GROWING}

    def _is_refused(self, statement: str, **values: object) -> None:
        with pytest.raises(Exception, match=r"only grows|never changes"), self.engine.begin() as connection:
            connection.execute(text(statement), values)
        assert self._snapshot() == self.before

    @pytest.mark.parametrize("table", GROWING)
    def test_no_update(self, table: str) -> None:
        self._is_refused(f"UPDATE {table} SET payload = 'forged'")

    @pytest.mark.parametrize("table", GROWING)
    def test_no_delete(self, table: str) -> None:
        self._is_refused(f"DELETE FROM {table}")

    @pytest.mark.parametrize("table", GROWING)
    def test_no_replacement(self, table: str) -> None:
        if self.engine.dialect.name == "postgresql":
            self._is_refused(f"TRUNCATE {table} CASCADE")
        else:
            self._is_refused(f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}")

    def test_no_replacement_by_the_other_unique_columns(self, records_url: str) -> None:
        if self.engine.dialect.name == "sqlite":
            self._is_refused(
                "INSERT OR REPLACE INTO stage_moves SELECT 'forged', release, number, 'production', payload"
                " FROM stage_moves"
            )
            self._is_refused("INSERT OR REPLACE INTO datasets SELECT seq, 'forged', name, 0, payload FROM datasets")
            self._is_refused(
                "INSERT OR REPLACE INTO exports SELECT seq, 'forged', name, run_id, 0, payload FROM exports"
            )


def test_a_running_run_may_be_updated(records: SqlRecords, records_url: str) -> None:
    records.runs.put(a_run())
    with bare_engine(records_url).begin() as connection:
        assert connection.execute(text("UPDATE runs SET name = 'other'")).rowcount == 1


def test_sqlite_writes_ahead_and_checks_foreign_keys(tmp_path: Path) -> None:
    records = open_records(f"sqlite:///{tmp_path}/records.db")
    with records._connections.read() as connection:
        seen = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in _PRAGMAS}
    assert seen == _PRAGMAS
    records.close()
    with closing(sqlite3.connect(tmp_path / "records.db")) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


_PRAGMAS = {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1, "busy_timeout": 30_000}
