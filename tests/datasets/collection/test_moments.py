"""Moments: times before now, dates, and moments with their zone; nothing that could be meant in two ways."""

import pytest

from modelyard.core.clock import iso
from modelyard.datasets.collection.moments import moment_ms

NOW_MS = 1_795_000_000_000
DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("text", "before_ms"), [("90m", 5_400_000), ("36h", 129_600_000), ("7d", 7 * DAY_MS), ("2w", 14 * DAY_MS)]
)
def test_a_time_before_now(text: str, before_ms: int) -> None:
    assert moment_ms(text, now_ms=NOW_MS) == NOW_MS - before_ms


def test_a_time_before_all_times_is_the_first() -> None:
    assert moment_ms("99999w", now_ms=NOW_MS) == 0


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-20", "2026-11-20T00:00:00.000Z"),
        ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00.000Z"),
        ("2026-11-20T10:00:00+02:00", "2026-11-20T08:00:00.000Z"),
        ("2026-11-20T08:00:00.123Z", "2026-11-20T08:00:00.123Z"),
    ],
)
def test_dates_and_moments(text: str, moment: str) -> None:
    assert iso(moment_ms(text, now_ms=NOW_MS)) == moment
    assert iso(moment_ms(moment, now_ms=0)) == moment


@pytest.mark.parametrize("text", ["", "7", "7 d", "-7d", "7y", "yesterday", "2026-13-01", "20 Nov"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match="expected a time before now"):
        moment_ms(text, now_ms=NOW_MS)


@pytest.mark.parametrize("text", ["2026-11-20T10:00:00", "2026-11-20 10:00"])
def test_a_moment_without_its_zone_could_be_any(text: str) -> None:
    with pytest.raises(ValueError, match="has no zone"):
        moment_ms(text, now_ms=NOW_MS)
