"""One JSON object, strictly: what is wrong with it is said in words."""

import json
import math
import re
from typing import Any, NoReturn

# Python's own limit depends on who calls; what a row is must not.
MOST_DEPTH = 64


def parse_object(text: str) -> tuple[dict[str, Any] | None, str]:
    """The object that a text holds, or None and what is wrong with the text."""
    value, fault = parse_value(text)
    if fault or isinstance(value, dict):
        return value, fault
    return None, f"not an object: the line holds {_KINDS[type(value)]}"


def parse_value(text: str) -> tuple[Any, str]:
    """The JSON that a text holds, or None and what is wrong with the text."""
    if text.count("{") + text.count("[") > MOST_DEPTH and _is_deep(text):
        return None, f"broken JSON: nested too deeply, more than {MOST_DEPTH} levels"
    try:
        value = _decoder.decode(text)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except _Refused as error:
        return None, str(error)
    except json.JSONDecodeError as error:
        return None, f"broken JSON: {error.msg} at character {error.pos + 1}"
    except UnicodeEncodeError:
        return None, "lone surrogate: half of a character pair stands alone"
    except ValueError:
        return None, "broken JSON: a number with too many digits"
    return value, ""


class _Refused(ValueError):
    """JSON that Python would accept and we do not."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Refused(f"duplicate key: '{_shown(key)}' appears more than once")
            seen.add(key)
    return fields


def _shown(key: str) -> str:
    """The beginning of a key; half a character pair in it must not break the report."""
    return key[:80].encode("utf-8", "replace").decode()


def _no_constant(name: str) -> NoReturn:
    raise _Refused(f"broken JSON: {name} is not a JSON value")


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise _Refused(f"broken JSON: the number {number[:40]} is out of range")
    return value


def _is_deep(text: str) -> bool:
    depth = 0
    for match in _BRACKETS.finditer(text):
        if match[0] in "[{":
            depth += 1
            if depth > MOST_DEPTH:
                return True
        elif match[0] in "]}":
            depth -= 1
    return False


# Texts are matched whole, so that the brackets in them do not count.
_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)
_KINDS = {
    list: "an array",
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "a truth value",
    type(None): "null",
}
_decoder = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_no_constant, parse_float=_finite)
