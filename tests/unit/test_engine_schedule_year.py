"""A year of every type of schedule in every kind of zone, against somebody who watches a clock."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise, takewhile

import pytest

from refold.engine.schedule import parse_schedule
from tests.support.schedule_oracle import CALENDARS, YEAR, calendar_year, micros

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kathmandu",  # an odd offset, and no changes
    "Australia/Lord_Howe",  # changes by half an hour
    "Africa/Cairo",  # changes at midnight
]
START_US = micros(datetime(YEAR, 1, 1))
END_US = micros(datetime(YEAR + 1, 1, 1))


@pytest.mark.parametrize("zone", ZONES)
def test_a_year_of_each_calendar_misses_nothing_doubles_nothing_and_does_not_drift(
    zone: str,
) -> None:
    """What is due is exactly what a clock on the wall would have shown."""
    for type_, value, goes_as_time_passes, is_match in CALENDARS:
        schedule = parse_schedule(type_, value, timezone=zone)
        found = list(takewhile(lambda at: at < END_US, schedule.all_after(START_US - 1)))
        expected = calendar_year(zone, goes_as_time_passes, is_match)
        assert found == expected, (zone, value)
        assert found


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Australia/Lord_Howe"])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [("90 seconds", 90), ("5 minutes", 300), ("7 hours", 25_200), ("1 day", 86_400)],
)
def test_a_year_of_an_interval_is_equal_steps_whatever_the_clocks_do(
    zone: str, value: str, seconds: int
) -> None:
    """A day of an interval has 24 hours."""
    schedule = parse_schedule("interval", value, timezone=zone)
    found = list(takewhile(lambda at: at < END_US, schedule.all_after(START_US)))
    assert {b - a for a, b in pairwise([START_US, *found])} == {seconds * 1_000_000}
    assert len(found) == (END_US - START_US - 1) // (seconds * 1_000_000)
