"""Calendar: which minute, day and month of UTC it is, as numbers that only grow. Looked at once a minute."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

MINUTE_S = 60
DAY_MINUTES = 1440


def month_of(seconds: float) -> int:
    """The month of UTC that Unix seconds lie in, counted from the year 0."""
    moment = datetime.fromtimestamp(seconds, tz=UTC)
    return moment.year * 12 + moment.month - 1


def until_day_ends_s(minute: int) -> int:
    """Seconds from the start of a minute to the end of its day."""
    return (DAY_MINUTES - minute % DAY_MINUTES) * MINUTE_S


def until_month_ends_s(minute: int) -> int:
    """Seconds from the start of a minute to the end of its month."""
    moment = datetime.fromtimestamp(minute * MINUTE_S, tz=UTC)
    year, month = (moment.year + 1, 1) if moment.month == 12 else (moment.year, moment.month + 1)
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) - minute * MINUTE_S


class Calendar:
    """The minute, day and month by two clocks: the wall's says which, the monotonic one when the next begins.

    A wall clock that is set back starts no earlier minute or day: that would forgive what was spent.
    """

    __slots__ = ("_wall_s", "day", "ends_s", "minute", "month", "now_s")

    def __init__(self, now_s: Callable[[], float] = time.monotonic, wall_s: Callable[[], float] = time.time) -> None:
        self.now_s = now_s
        self._wall_s = wall_s
        self.minute = self.day = self.month = 0
        self.ends_s = float("-inf")
        self.look()

    def look(self) -> float:
        """The monotonic time now, in seconds; turns the page where the minute is over."""
        now = self.now_s()
        if now >= self.ends_s:
            wall = self._wall_s()
            self.minute = max(int(wall // MINUTE_S), self.minute)
            self.day = self.minute // DAY_MINUTES
            self.month = month_of(self.minute * MINUTE_S)
            self.ends_s = now + MINUTE_S - wall % MINUTE_S
        return now

    def month_began_s(self) -> float:
        """When this month began, in Unix seconds."""
        year, month = divmod(self.month, 12)
        return datetime(year, month + 1, 1, tzinfo=UTC).timestamp()
