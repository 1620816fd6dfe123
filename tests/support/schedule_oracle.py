"""What is due in a year, found by looking at the clock in each of its minutes.

It knows nothing of the code that it judges: no parser, no next time, no rule for gaps but what a
person sees who looks at a wall clock once a minute and writes down what it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
MINUTE_US = 60_000_000
EPOCH = datetime(1970, 1, 1)
YEAR = 2028
"""A leap year."""


def micros(naive_utc: datetime) -> int:
    """Write a moment in microseconds."""
    return (naive_utc - EPOCH) // timedelta(microseconds=1)


@lru_cache(maxsize=1)
def shown(zone: str, year: int = YEAR) -> tuple[int, list[datetime]]:
    """Return the year's first moment, and what the zone's clock shows each minute from then on."""
    start = datetime(year, 1, 1, tzinfo=UTC)
    first = int(start.timestamp())
    total = int((datetime(year + 1, 1, 1, tzinfo=UTC) - start) / MINUTE)
    info = ZoneInfo(zone)
    clock = [
        datetime.fromtimestamp(first + 60 * i, info).replace(tzinfo=None, fold=0)
        for i in range(total)
    ]
    return first * 1_000_000, clock


def when_shown(zone: str, is_match: Callable[[datetime], bool], year: int = YEAR) -> Iterator[int]:
    """Give each moment of the year at which the clock shows a match."""
    first, clock = shown(zone, year)
    for i, local in enumerate(clock):
        if is_match(local):
            yield first + i * MINUTE_US


def once_a_date(zone: str, is_match: Callable[[datetime], bool], year: int = YEAR) -> Iterator[int]:
    """Give the same, each local time once: the first time, or when the clock has jumped over it."""
    first, clock = shown(zone, year)
    latest = clock[0] - MINUTE
    for i, local in enumerate(clock):
        if local <= latest:
            continue
        is_due = is_match(local)
        while (latest := latest + MINUTE) < local:
            is_due = is_due or is_match(latest)
        if is_due:
            yield first + i * MINUTE_US


def at(hours: set[int], minutes: set[int]) -> Callable[[datetime], bool]:
    """Match a time of day."""
    return lambda local: local.minute in minutes and local.hour in hours


def on(
    hours: set[int], minutes: set[int], is_day: Callable[[datetime], bool]
) -> Callable[[datetime], bool]:
    """Match a time of day on some days."""
    return lambda local: local.minute in minutes and local.hour in hours and is_day(local)


def is_last_of_month(local: datetime) -> bool:
    """Say whether tomorrow is another month."""
    return (local + timedelta(days=1)).month != local.month


HOURS = set(range(24))
CALENDARS: list[tuple[str, str, bool, Callable[[datetime], bool]]] = [
    # Type, value, whether it goes as time passes, and what it means.
    ("daily", "02:30", False, at({2}, {30})),
    ("daily", "00:00", False, at({0}, {0})),
    ("weekly", "sun 02:00", False, on({2}, {0}, lambda t: t.weekday() == 6)),
    ("weekly", "mon,thu 09:05", False, on({9}, {5}, lambda t: t.weekday() in (0, 3))),
    ("monthly", "1 09:00", False, on({9}, {0}, lambda t: t.day == 1)),
    ("monthly", "31 23:59", False, on({23}, {59}, is_last_of_month)),
    (
        "monthly",
        "30 01:15",
        False,
        on({1}, {15}, lambda t: t.day == 30 or (t.month == 2 and is_last_of_month(t))),
    ),
    ("cron", "*/20 * * * *", True, at(HOURS, {0, 20, 40})),
    ("cron", "* 2 * * *", True, at({2}, set(range(60)))),
    ("cron", "15 */2 * * *", True, at(set(range(0, 24, 2)), {15})),
    (
        "cron",
        "*/30 1-3 * 4,10,3,11,9 SUN",
        True,
        on({1, 2, 3}, {0, 30}, lambda t: t.weekday() == 6 and t.month in (3, 4, 9, 10, 11)),
    ),
    ("cron", "30 2 * * *", False, at({2}, {30})),
    ("cron", "0,15,30,45 1,2,3 * * *", False, at({1, 2, 3}, {0, 15, 30, 45})),
    ("cron", "5 4 13 * FRI", False, on({4}, {5}, lambda t: t.day == 13 or t.weekday() == 4)),
    ("cron", "0 0 29 2 *", False, on({0}, {0}, lambda t: (t.month, t.day) == (2, 29))),
    ("cron", "59 23 L * *", False, on({23}, {59}, is_last_of_month)),
    ("cron", "0 12 * * 1-5", False, on({12}, {0}, lambda t: t.weekday() < 5)),
]


def calendar_year(
    zone: str, goes_as_time_passes: bool, is_match: Callable[[datetime], bool], year: int = YEAR
) -> list[int]:
    """Return when something of `CALENDARS` is due in a year."""
    look = when_shown if goes_as_time_passes else once_a_date
    return list(look(zone, is_match, year))
