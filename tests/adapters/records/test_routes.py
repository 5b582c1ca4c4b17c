import pytest

from modelyard.adapters.records.store import SqlRecords
from modelyard.core.errors import Conflict, NotFound
from modelyard.ports.routes import Service, Variant
from tests.adapters.records.values import a_key, a_table


def test_there_is_no_table_at_first(records: SqlRecords) -> None:
    with pytest.raises(NotFound, match="no route table yet"):
        records.routes.table()


def test_the_newest_table_is_the_default(records: SqlRecords) -> None:
    variant = Variant(release="sha256:a", ref="support@a", engine_url="http://127.0.0.1:1", model="support@a")
    first, second = a_table(1, services=(Service(name="support", champion=variant),)), a_table(2, keys=(a_key(),))
    records.routes.add_table(first)
    records.routes.add_table(second)
    assert records.routes.table() == second
    assert records.routes.table(1) == first
    assert records.routes.table(1).digest == first.digest
    with pytest.raises(NotFound):
        records.routes.table(3)


def test_a_version_is_written_once(records: SqlRecords) -> None:
    records.routes.add_table(a_table(1))
    records.routes.add_table(a_table(1))
    with pytest.raises(Conflict):
        records.routes.add_table(a_table(1, keys=(a_key(),)))


def test_versions_only_grow(records: SqlRecords) -> None:
    records.routes.add_table(a_table(5))
    with pytest.raises(Conflict, match="version 5"):
        records.routes.add_table(a_table(4))
    assert records.routes.table() == a_table(5)
    with pytest.raises(NotFound):
        records.routes.table(4)


def test_keys_come_and_go(records: SqlRecords) -> None:
    one, two = a_key("key-1"), a_key("key-2", expires_ms=7)
    for key in (two, one, one):
        records.routes.add_key(key)
    assert records.routes.keys() == [one, two]
    records.routes.remove_key("key-1")
    assert records.routes.keys() == [two]
    with pytest.raises(NotFound, match="did you mean key-2"):
        records.routes.remove_key("key-1")


def test_two_keys_are_never_the_same_secret(records: SqlRecords) -> None:
    records.routes.add_key(a_key("key-1"))
    with pytest.raises(Conflict, match="shares"):
        records.routes.add_key(a_key("key-2", hash=a_key("key-1").hash))
    with pytest.raises(Conflict, match="another key"):
        records.routes.add_key(a_key("key-1", tenant="other"))


def test_a_key_is_rotated_whole_or_not_at_all(records: SqlRecords) -> None:
    old, new = a_key("key-1"), a_key("key-2", replaces="key-1")
    with pytest.raises(NotFound):
        records.routes.rotate_key(new, old_expires_ms=9)
    records.routes.add_key(old)
    with pytest.raises(Conflict, match="shares"):
        records.routes.rotate_key(a_key("key-2", replaces="key-1", hash=old.hash), old_expires_ms=9)
    assert records.routes.keys() == [old]
    records.routes.rotate_key(new, old_expires_ms=9)
    assert records.routes.keys() == [a_key("key-1", expires_ms=9), new]
    with pytest.raises(Conflict, match="was rotated already"):
        records.routes.rotate_key(a_key("key-3", replaces="key-1"), old_expires_ms=10)
    assert records.routes.keys() == [a_key("key-1", expires_ms=9), new]
