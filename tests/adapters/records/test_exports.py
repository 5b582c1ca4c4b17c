import pytest

from modelyard.adapters.records.store import SqlRecords
from modelyard.core.digests import digest_text, short
from modelyard.core.errors import Conflict, NotFound
from tests.adapters.records.values import NOW_MS, an_export


def test_exports_come_back_by_digest_by_reference_and_by_run(records: SqlRecords) -> None:
    first = an_export()
    second = an_export("support-gguf-q8_0", format="gguf", quantization="q8_0", created_ms=NOW_MS + 1)
    other = an_export(run_id="run-2", parent=digest_text("other"), created_ms=NOW_MS + 2)
    for export in (first, second, other):
        records.exports.add(export)
    assert records.exports.get(first.digest) == first
    assert records.exports.find("support-merged") == other
    assert records.exports.find(f"support-merged@{short(first.digest)}") == first
    assert records.exports.newest() == [other, second, first]
    assert records.exports.newest("run-1") == [second, first]
    with pytest.raises(NotFound, match="no export 'support-mergd'"):
        records.exports.find("support-mergd")


@pytest.mark.parametrize(
    "fields",
    [
        {"format": "gguf"},
        {"quantization": "q8_0"},
        {"parent": digest_text("other")},
        {"base_digest": digest_text("other")},
        {"tool_version": "0.22.0"},
        {"settings": {}},
    ],
)
def test_whatever_decides_the_bytes_is_part_of_the_address(fields: dict[str, object]) -> None:
    assert an_export(**fields).digest != an_export().digest


def test_made_again_the_first_stays(records: SqlRecords) -> None:
    records.exports.add(an_export())
    records.exports.add(an_export("other", run_id="run-2", seconds=9.0, created_ms=NOW_MS + 5, checks={}))
    assert records.exports.newest() == [an_export()]


def test_other_bytes_of_the_same_inputs_are_a_conflict(records: SqlRecords) -> None:
    records.exports.add(an_export())
    with pytest.raises(Conflict, match="differ in blob"):
        records.exports.add(an_export(blob=digest_text("other bytes")))
