"""What the databases raise reaches the caller as our errors, without a password in it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from modelyard.adapters.records import connections
from modelyard.adapters.records.store import open_records
from modelyard.core.errors import Conflict, Corrupt, InvalidInput, ModelyardError, Unavailable
from modelyard.core.ids import new_id
from tests import postgres
from tests.adapters.records.values import a_dataset, a_run


@pytest.mark.parametrize("url", ["", "records.db", "sqlite://", "sqlite:///:memory:", "mysql://u:hush@h/d", "a://["])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        open_records(url)
    assert "postgresql://" in caught.value.expected
    assert "hush" not in str(caught.value)


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(Unavailable, match=r"postgresql://ada:\*\*\*@127.0.0.1:1/yard does not answer") as caught:
        open_records("postgresql://ada:hush@127.0.0.1:1/yard")
    assert "hush" not in str(caught.value)


def test_a_database_that_is_not_there() -> None:
    url = postgres.start_or_skip().url("absent")
    with pytest.raises(Unavailable, match=r'"absent" does not exist'):
        open_records(url)


def test_a_server_that_goes_away_and_comes_back() -> None:
    server = postgres.start_or_skip()
    url = server.make_database()
    records = open_records(url)
    server.drop_database(url)
    with pytest.raises(Unavailable):
        records.datasets.newest()
    records.close()


def test_a_lost_connection_is_replaced() -> None:
    server = postgres.start_or_skip()
    url = server.make_database()
    records = open_records(url)
    records.datasets.add(a_dataset())
    server._execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        f" WHERE datname = '{url.rpartition('/')[2]}' AND pid <> pg_backend_pid()"
    )
    assert records.datasets.newest() == [a_dataset()]
    records.close()
    server.drop_database(url)


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_file_that_is_no_database_is_corrupt(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "records.db"
    file.write_bytes(content)
    with pytest.raises(Corrupt, match=r"records\.db is damaged"):
        open_records(f"sqlite:///{file}")
    assert file.read_bytes() == content


def test_a_page_that_was_overwritten_is_corrupt(tmp_path: Path) -> None:
    file = tmp_path / "records.db"
    records = open_records(f"sqlite:///{file}")
    for _ in range(200):
        records.runs.put(a_run())
    records.close()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(file.read_bytes())
    for start in range(16 * 4096, len(content), 4096):
        content[start : start + 2048] = b"\xa5" * 2048
    file.write_bytes(content)
    with pytest.raises(Corrupt):
        open_records(f"sqlite:///{file}").runs.newest()


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be used"):
        open_records(f"sqlite:///{tmp_path}")


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "yard").write_text("")
    with pytest.raises(Unavailable, match="cannot be made"):
        open_records(f"sqlite:///{tmp_path}/yard/records.db")


def test_a_file_that_someone_holds_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LOCK_TIMEOUT_S", 0.1)
    records = open_records(f"sqlite:///{tmp_path}/records.db")
    with closing(sqlite3.connect(tmp_path / "records.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert records.runs.newest() == [], "readers go on"
        with pytest.raises(Unavailable, match="locked by another process"):
            records.runs.put(a_run())
    records.runs.put(a_run())
    records.close()


def test_a_broken_rule_of_the_database_is_a_conflict(records_url: str) -> None:
    records = open_records(records_url)
    with pytest.raises(Conflict), records._connections.write() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO stage_moves (id, release, number, to_stage, payload) VALUES ('{new_id()}', 'x', 1, '', '')"
        )
    records.close()


def test_the_message_of_a_failed_write_holds_no_values(records_url: str) -> None:
    records = open_records(records_url)
    with pytest.raises(ModelyardError) as caught:
        records.runs.put(a_run(owner="secret", started_ms=2**70))
    assert "secret" not in str(caught.value)
    assert "secret" not in str(caught.value.__cause__)
    records.close()
