"""Usage: what a person asks of recorded requests, in the records' own terms."""

import re
from collections.abc import Iterable
from typing import get_args

from modelyard.core.errors import InvalidInput
from modelyard.ports.records import Usage, UsageBy

_STATUSES = re.compile(r"(?:(\d{3})(?:-(\d{3}))?|([1-5])xx)", re.IGNORECASE)
_SUMMED = ("requests", "failures", "prompt_tokens", "completion_tokens", "cost_nanousd", "saved_nanousd")


def check_by(text: str) -> UsageBy:
    """What to sum by. Raises: InvalidInput."""
    for known in get_args(UsageBy):
        if text == known:
            return known  # type: ignore[no-any-return]
    raise InvalidInput(f"--by {text}: usage is not summed by that", expected=", ".join(get_args(UsageBy)))


def statuses_of(text: str) -> tuple[int, int] | None:
    """The lowest and highest of `503`, `4xx` or `400-499`; None for nothing. Raises: InvalidInput."""
    if not text:
        return None
    match = _STATUSES.fullmatch(text)
    if match is None:
        raise InvalidInput(f"--status {text}: that is no status", expected="503, 4xx, or 400-499")
    low, high, hundred = match.groups()
    if hundred:
        return int(hundred) * 100, int(hundred) * 100 + 99
    return int(low), int(high or low)


def total(found: Iterable[Usage]) -> Usage:
    """All of them as one."""
    rows = list(found)
    return Usage(key="total", **{name: sum(getattr(one, name) for one in rows) for name in _SUMMED})
