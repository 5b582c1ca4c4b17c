"""The conformance suite runs on both databases: every test that takes `records` or `records_url` runs twice."""

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.adapters.records.store import SqlRecords, open_records
from modelyard.adapters.records.tables import metadata
from tests import postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database that nothing was written to yet."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/yard/records.db"
        return
    server = postgres.start_or_skip()
    url = server.make_database()
    yield url
    server.drop_database(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def records_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of records without a row in them."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/records.db"
        return
    url = _prepared()
    yield url
    _empty(url)


@pytest.fixture
def records(records_url: str) -> Iterator[SqlRecords]:
    """Open records without a row in them."""
    store = open_records(records_url)
    yield store
    store.close()


@functools.cache
def _prepared() -> str:
    """This process's database with the tables made: making one for each test costs half a second each."""
    url = postgres.start_or_skip().make_database()
    open_records(url).close()
    return url


def _empty(url: str) -> None:
    """Delete every row, past the triggers, which a superuser may switch off for his own connection."""
    import psycopg

    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")
        for table in metadata.tables:
            connection.execute(f'DELETE FROM "{table}"')  # type: ignore[arg-type]
