"""JSON arrays: streamed, each element a row with its line; whatever breaks off is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.errors import DataInvalid
from modelyard.datasets.sources.json_array import ElementBlocks
from tests.datasets.sources.reading import read


def test_elements_know_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(b'\n [ {"a": "[,]\\""},\n\n {"a":\n 2}, 3,{"a": 4}, {"b": 1, "b": 2}, {"a": 1} {"a": 2}\n]')
    rows, rejected = read(path)
    assert rows == [(2, {"a": '[,]"'}), (4, {"a": 2}), (5, {"a": 4})]
    assert rejected == [
        (5, "not an object: the line holds a number"),
        (5, "duplicate key: 'b' appears more than once"),
        (5, "broken JSON: Extra data at character 10"),
    ]


VALUES = st.recursive(
    st.sampled_from([None, 1, -0.5, True, "", 'a"b', "\\", "[{,}]", "\n", "\u00e9"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab,]"), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(VALUES, max_size=8), st.sampled_from([None, 0, 1]), st.integers(1, 40), st.integers(1, 60), st.booleans()
)
def test_pieces_of_any_size_give_the_same_elements(
    values: list[Any], indent: int | None, piece: int, block: int, is_ascii: bool
) -> None:
    data = json.dumps(values, indent=indent, ensure_ascii=is_ascii).encode() + b" \n"
    pieces = [data[place : place + piece] for place in range(0, len(data), piece)]
    found = []
    for one in ElementBlocks(pieces, block):
        elements = one.elements
        for begin, end, line in zip(elements.begins, elements.ends, elements.lines, strict=True):
            found.append((json.loads(elements.data[begin:end]), int(line)))
    assert [value for value, _ in found] == values
    # Where an element begins, found by the reading of the same text up to it.
    place = data.index(b"[") + 1
    decoder = json.JSONDecoder()
    text = data.decode()
    for value, line in found:
        place += len(text[place:]) - len(text[place:].lstrip(" \n,"))
        assert line == text.count("\n", 0, place) + 1
        assert decoder.raw_decode(text, place)[0] == value
        place = decoder.raw_decode(text, place)[1]


def test_element_that_is_too_long_costs_itself(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(b'[\n{"a": 1},\n\n{"a": "' + b"x\n" * 9_000_000 + b'"},\n{"a": 2}]')
    rows, rejected = read(path)
    assert rows == [(2, {"a": 1}), (9_000_005, {"a": 2})]
    assert rejected == [(4, "overlong line: more than 16,000,000 bytes")]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'[{"text": "a"},\n', "breaks off after line 1: the array does not end"),
        (b'[{"text": "a"},\n{"text": "b', "breaks off after line 1: the array does not end"),
        (b'[\n{"text": "a"}\n] tail', "more follows behind the array: tail"),
        (b'[{"text": "a"}]' + b" " * 3_000_000 + b"[", "more follows behind the array"),
        (b"[{\n", "does not end"),
    ],
)
def test_array_that_breaks_off_is_refused(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "rows.json").write_bytes(data)
    with pytest.raises(DataInvalid, match=says):
        read(tmp_path / "rows.json")


def test_array_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_bytes(b"[ ]")
    with pytest.raises(DataInvalid, match="holds no rows"):
        read(tmp_path / "rows.json")
    (tmp_path / "rows.json").write_bytes(b'{"a": 1}')
    with pytest.raises(DataInvalid, match="holds no array, it begins with"):
        read(tmp_path / "rows.json", format="json")
