import pytest

from modelyard.core.errors import DataInvalid
from modelyard.training.examples import read_examples, write_examples
from tests.training.conftest import make_examples


def test_what_is_written_reads_back(tmp_path):
    write_examples(tmp_path / "rows.jsonl", make_examples(5))
    assert read_examples(tmp_path / "rows.jsonl") == make_examples(5)
    write_examples(tmp_path / "none.jsonl", [])
    assert read_examples(tmp_path / "none.jsonl") == []


def test_missing_and_broken_files_are_told_apart(tmp_path):
    with pytest.raises(DataInvalid, match="cannot be read"):
        read_examples(tmp_path / "rows.jsonl")
    (tmp_path / "rows.jsonl").write_text('{"id": 1}\n')
    with pytest.raises(DataInvalid, match="something other than examples"):
        read_examples(tmp_path / "rows.jsonl")
