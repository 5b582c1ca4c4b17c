"""Moments as a project file writes them."""

import re
from datetime import UTC, date, datetime

_DURATION = re.compile(r"(\d{1,5})([mhdw])")
_UNIT_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def moment_ms(text: str, *, now_ms: int) -> int:
    """Unix milliseconds of a time before now (`90m`, `36h`, `7d`, `2w`), a date in UTC, or a moment with its zone.

    Raises: ValueError.
    """
    if match := _DURATION.fullmatch(text):
        return max(now_ms - int(match[1]) * _UNIT_MS[match[2]], 0)
    try:
        day = date.fromisoformat(text)
        return _ms(datetime(day.year, day.month, day.day, tzinfo=UTC))
    except ValueError:
        return _ms(_moment(text))


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("expected a time before now (90m, 36h, 7d, 2w), a date, or a moment with its zone") from None
    if moment.tzinfo is None:
        raise ValueError(f"the moment has no zone: write '{text}Z' for UTC, or '{text}+02:00'")
    return moment


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
