"""Time: wall time in Unix milliseconds for records, monotonic seconds for durations."""

import time
from datetime import UTC, datetime


def now_ms() -> int:
    """Wall time now, in Unix milliseconds."""
    return time.time_ns() // 1_000_000


def monotonic_s() -> float:
    """Seconds on a clock that never steps back: the only source of durations."""
    return time.monotonic()


def iso(milliseconds: int) -> str:
    """Unix milliseconds as ISO 8601 in UTC."""
    moment = datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
