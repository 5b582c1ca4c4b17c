"""Templates over a row's fields: `{text}` stands for the field `text`, `{{` and `}}` for braces."""

import json
from collections.abc import Mapping
from string import Formatter
from typing import Any

Template = tuple[tuple[str, str | None], ...]


class FieldUnusable(Exception):
    """A row cannot fill a template; the text says why."""


def parse_template(template: str, *, needs_field: bool = True) -> Template:
    """A template as pairs of literal text and the field that follows it.

    A field name is taken as it stands: no attributes, indexes or formats, so that a template can only read a row.
    Raises: ValueError where it is malformed, or names no field and needs one.
    """
    parts = []
    for literal, field, spec, conversion in Formatter().parse(template):
        if field is not None and (not field or spec or conversion):
            raise ValueError(f"template '{template}' must hold plain fields such as {{text}}")
        parts.append((literal, field))
    if needs_field and not any(field for _, field in parts):
        raise ValueError(f"template '{template}' names no field, expected for example '{{text}}'")
    return tuple(parts)


def fields_of(template: Template) -> tuple[str, ...]:
    """The fields that a template reads."""
    return tuple(field for _, field in template if field is not None)


def fill(template: Template, row: Mapping[str, Any]) -> str:
    """The text of a row. Raises: FieldUnusable, naming the field."""
    return "".join(literal if field is None else literal + field_text(row, field) for literal, field in template)


def field_text(row: Mapping[str, Any], field: str) -> str:
    """One field as text; numbers and truth values as JSON writes them. Raises: FieldUnusable."""
    if field not in row:
        raise FieldUnusable(f"missing field '{field}': the row has {_names(row)}")
    value = row[field]
    if isinstance(value, str):
        return value
    if value is None:
        raise FieldUnusable(f"empty field '{field}': it is null")
    if isinstance(value, dict | list):
        kind = "object" if isinstance(value, dict) else "array"
        raise FieldUnusable(f"nested field '{field}': it holds an {kind}, expected text or a number")
    return json.dumps(value)


def _names(row: Mapping[str, Any]) -> str:
    names = [f"'{name[:40]}'" for name in list(row)[:8]]
    return ", ".join(names) + (" and more" if len(row) > 8 else "") if names else "no fields"
