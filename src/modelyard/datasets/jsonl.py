"""JSON lines as rows: one object a line, strictly."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from modelyard.datasets.raw_rows import RawRow, Unreadable, decode


def jsonl_rows(lines: Iterable[tuple[int, bytes]]) -> Iterator[RawRow | Unreadable]:
    """Each line as a row or as what is wrong with it. Blank lines are no rows."""
    for number, data in lines:
        if not data.strip():
            continue
        text, fault = decode(data)
        fields, fault = (None, fault) if fault else _parse(text)
        if fields is None:
            yield Unreadable(line=number, raw=text, reason=fault)
        else:
            yield RawRow(line=number, raw=text, fields=fields)


class _Refused(ValueError):
    """JSON that Python would accept and we do not."""


def _parse(text: str) -> tuple[dict[str, Any] | None, str]:
    try:
        value = _decoder.decode(text)
        if not isinstance(value, dict):
            return None, f"not an object: the line holds {_KINDS[type(value)]}"
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except _Refused as error:
        return None, str(error)
    except json.JSONDecodeError as error:
        return None, f"broken JSON: {error.msg} at character {error.pos + 1}"
    except RecursionError:
        return None, "broken JSON: nested too deeply"
    except UnicodeEncodeError:
        return None, "lone surrogate: half of a character pair stands alone"
    except ValueError:
        return None, "broken JSON: a number with too many digits"
    return value, ""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _Refused(f"duplicate key: '{twice[:80]}' appears more than once")
    return fields


def _no_constant(name: str) -> NoReturn:
    raise _Refused(f"broken JSON: {name} is not a JSON value")


_KINDS = {
    list: "an array",
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "a truth value",
    type(None): "null",
}
_decoder = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_no_constant)
