"""Templates: what they read of a row, and that they can do nothing else."""

from typing import Any

import pytest

from modelyard.datasets.template import FieldUnusable, fields_of, fill, parse_template


@pytest.mark.parametrize(
    ("template", "row", "text"),
    [
        ("{text}", {"text": "hello"}, "hello"),
        ("{a} and {b}", {"a": "x", "b": 3}, "x and 3"),
        ("{a}", {"a": True}, "true"),
        ("{{literal}} {a b}", {"a b": 1.5}, "{literal} 1.5"),
        ("{text.__class__}", {"text.__class__": "a field of that name"}, "a field of that name"),
    ],
)
def test_fills(template: str, row: dict[str, Any], text: str) -> None:
    assert fill(parse_template(template), row) == text


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"body": "x"}, r"missing field 'text': the row has 'body'"),
        ({}, "no fields"),
        ({"text": None}, "empty field 'text'"),
        ({"text": ["x"]}, "nested field 'text': it holds an array"),
        ({"text": {"x": 1}}, "nested field 'text': it holds an object"),
    ],
)
def test_names_the_field_it_cannot_use(row: dict[str, Any], says: str) -> None:
    with pytest.raises(FieldUnusable, match=says):
        fill(parse_template("{text}"), row)


def test_knows_its_fields() -> None:
    assert fields_of(parse_template("{a}: {b}{{c}}")) == ("a", "b")
