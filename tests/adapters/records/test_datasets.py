import msgspec
import pytest

from modelyard.adapters.records.store import SqlRecords
from modelyard.core.digests import digest_text
from modelyard.core.errors import Conflict, Corrupt, InvalidInput, NotFound
from tests.adapters.records.values import NOW_MS, a_dataset


def test_what_was_added_comes_back_equal(records: SqlRecords) -> None:
    dataset = a_dataset()
    records.datasets.add(dataset)
    assert records.datasets.get(dataset.digest) == dataset


def test_adding_twice_changes_nothing(records: SqlRecords) -> None:
    records.datasets.add(a_dataset())
    records.datasets.add(a_dataset())
    assert len(records.datasets.newest()) == 1


def test_the_same_rows_prepared_later_are_the_same_dataset(records: SqlRecords) -> None:
    records.datasets.add(a_dataset())
    records.datasets.add(a_dataset(created_ms=NOW_MS + 5))
    assert records.datasets.get(a_dataset().digest).created_ms == NOW_MS


def test_a_dataset_made_again_is_the_newest_of_its_name(records: SqlRecords) -> None:
    first, second = a_dataset(content="1"), a_dataset(content="2", created_ms=NOW_MS + 1)
    for dataset in (first, second, a_dataset(content="1", created_ms=NOW_MS + 2)):
        records.datasets.add(dataset)
    assert records.datasets.find("support") == first
    assert records.datasets.newest() == [first, second]
    records.datasets.add(second)
    assert records.datasets.find("support") == first, "what was made earlier, added late, is not the newest"


def test_another_value_under_the_same_digest_is_a_conflict(records: SqlRecords) -> None:
    records.datasets.add(a_dataset())
    with pytest.raises(Conflict, match="they differ in rows"):
        records.datasets.add(a_dataset(rows={"train": 1}))
    assert records.datasets.get(a_dataset().digest).rows == a_dataset().rows


def test_an_unknown_digest_is_not_found(records: SqlRecords) -> None:
    with pytest.raises(NotFound, match="no dataset 'sha256:0'"):
        records.datasets.get("sha256:0")


def test_newest_first_and_by_name(records: SqlRecords) -> None:
    old, new, other = a_dataset(content="1"), a_dataset(content="2", created_ms=NOW_MS + 1), a_dataset("sales", "3")
    for dataset in (old, new, other):
        records.datasets.add(dataset)
    assert records.datasets.newest() == [new, other, old]
    assert records.datasets.newest("support") == [new, old]
    assert records.datasets.newest("absent") == []


class TestFind:
    @pytest.fixture(autouse=True)
    def _two_of_a_name(self, records: SqlRecords) -> None:
        self.old, self.new = a_dataset(content="1"), a_dataset(content="2", created_ms=NOW_MS + 1)
        records.datasets.add(self.old)
        records.datasets.add(self.new)

    def test_a_name_means_its_newest(self, records: SqlRecords) -> None:
        assert records.datasets.find("support") == self.new

    @pytest.mark.parametrize("length", [6, 12, 64])
    def test_a_name_with_a_digest_prefix(self, records: SqlRecords, length: int) -> None:
        hexdigits = self.old.digest.removeprefix("sha256:")
        assert records.datasets.find(f"support@{hexdigits[:length]}") == self.old
        assert records.datasets.find(hexdigits[:length]) == self.old
        assert records.datasets.find(f"sha256:{hexdigits[:length]}") == self.old

    def test_its_own_ref_finds_it(self, records: SqlRecords) -> None:
        assert records.datasets.find(self.old.ref) == self.old

    def test_a_prefix_of_another_name_is_not_found(self, records: SqlRecords) -> None:
        with pytest.raises(NotFound):
            records.datasets.find("sales@" + self.old.digest[7:19])

    def test_a_prefix_of_two_digests_is_a_conflict_that_names_them(self, records: SqlRecords) -> None:
        twins = _with_equal_first_digit()
        for dataset in twins:
            records.datasets.add(dataset)
        with pytest.raises(Conflict) as caught:
            records.datasets.find(f"twins@{twins[0].digest[7]}")
        assert twins[0].ref in caught.value.seen
        assert twins[1].ref in caught.value.seen

    def test_a_near_name_is_suggested(self, records: SqlRecords) -> None:
        with pytest.raises(NotFound, match="did you mean support"):
            records.datasets.find("suport")

    def test_a_far_name_lists_what_exists(self, records: SqlRecords) -> None:
        with pytest.raises(NotFound, match="one of support"):
            records.datasets.find("zzzzzz")

    @pytest.mark.parametrize("ref", ["", "@", "support@", "%", "support@%", "_" * 12, "support@\x00"])
    def test_odd_references_are_not_found(self, records: SqlRecords, ref: str) -> None:
        with pytest.raises(NotFound):
            records.datasets.find(ref)


def test_find_where_there_is_nothing_says_so(records: SqlRecords) -> None:
    with pytest.raises(NotFound, match="no datasets yet"):
        records.datasets.find("support")


def test_a_value_that_json_cannot_hold_is_refused(records: SqlRecords) -> None:
    with pytest.raises(InvalidInput, match="JSON"):
        records.datasets.add(a_dataset(config={"a": object()}))
    assert records.datasets.newest() == []


def test_a_payload_that_cannot_be_read_is_corrupt(records: SqlRecords) -> None:
    dataset = a_dataset()
    with records._connections.write() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO datasets (digest, name, created_ms, payload) VALUES ('{dataset.digest}', 'a', 1, '{{')"
        )
    with pytest.raises(Corrupt, match="dataset"):
        records.datasets.get(dataset.digest)


def test_text_of_any_script_survives(records: SqlRecords) -> None:
    dataset = a_dataset("naïve-客服", config={"note": "\U0001f6a2 \x00 \n ' \" % :name"})
    records.datasets.add(dataset)
    found = records.datasets.find("naïve-客服")
    assert msgspec.json.encode(found) == msgspec.json.encode(dataset), "the order of keys too"


def _with_equal_first_digit() -> list:
    first = a_dataset("twins", "0")
    number = 1
    while digest_text(str(number))[7] != first.digest[7]:
        number += 1
    return [first, a_dataset("twins", str(number))]
