"""Arithmetic on moments: zones, steps of a calendar, beginnings and ends, differences.

1. Seconds, minutes and hours are time that passes. Days, weeks, months, quarters and years are
   steps on the calendar of a zone: the hour on the clock stays, however long the days between are.
2. A month without the day ends on its last: one month after January 31 is February 28 or 29.
3. A time that a change of clocks skips is as much later; of one that it repeats, the first counts.
4. Weeks begin on Monday. What is not within the years 1 to 9999 is a `DateRangeError`.
"""

from __future__ import annotations

import calendar
import math
import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final, Literal, TypeAlias, get_args

from .zones import named_zone

Unit: TypeAlias = Literal[
    "seconds", "minutes", "hours", "days", "weeks", "months", "quarters", "years"
]
Period: TypeAlias = Literal["second", "minute", "hour", "day", "week", "month", "quarter", "year"]

PERIODS: Final[tuple[Period, ...]] = get_args(Period)
_UNITS: Final[dict[str, Unit]] = {
    name: unit for unit in get_args(Unit) for name in (unit, unit.removesuffix("s"))
}
_SECONDS: Final = {"seconds": 1, "minutes": 60, "hours": 3600}
_DAYS: Final = {"days": 1, "weeks": 7}
_MONTHS: Final = {"months": 1, "quarters": 3, "years": 12}
_OFFSET = re.compile(r"([+-])([01][0-9]|2[0-3]):?([0-5][0-9])", re.ASCII)


class DateRangeError(Exception):
    """A moment is not within the years 1 to 9999."""

    def __init__(self) -> None:
        super().__init__("is not within the years 1 to 9999")


def unit_of(name: str) -> Unit | None:
    """Give the unit that a name in singular or plural stands for; null when it is none."""
    return _UNITS.get(name)


def zone_of(name: str) -> tzinfo:
    """Give the zone of a name such as `Europe/Rome`, `UTC`, `Z` or `+02:00`.

    Raises `UnknownZoneError`.
    """
    if offset := _OFFSET.fullmatch(name):
        sign, hours, minutes = offset.groups()
        ahead = timedelta(hours=int(hours), minutes=int(minutes))
        return timezone(ahead if sign == "+" else -ahead)
    if name in ("UTC", "Z"):
        return UTC
    return named_zone(name)


def in_zone(moment: datetime, zone: tzinfo) -> datetime:
    """Give a moment as the clocks of a zone show it; one without an offset is read there."""
    try:
        aware = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        # By way of UTC, since a time that the clocks skip is none of the zone.
        return aware.astimezone(UTC).astimezone(zone)
    except (OverflowError, ValueError) as error:
        raise DateRangeError from error


def shift(moment: datetime, amount: float, unit: Unit, zone: tzinfo) -> datetime:
    """Go `amount` units forward, or back when it is negative.

    Raises `ValueError` when a step of the calendar is not whole, and `DateRangeError`.
    """
    if not math.isfinite(amount):
        raise DateRangeError
    if unit in _SECONDS:
        try:
            passed = timedelta(microseconds=round(amount * _SECONDS[unit] * 1_000_000))
            return (moment.astimezone(UTC) + passed).astimezone(zone)
        except (OverflowError, ValueError) as error:
            raise DateRangeError from error
    steps = int(amount)
    if steps != amount:
        raise ValueError(f"a part of {unit} has no fixed length: whole numbers are needed")
    local = in_zone(moment, zone)
    if not steps:
        return local
    return _at(_on_calendar(local.replace(tzinfo=None), steps, unit), zone)


def start_of(moment: datetime, period: Period, zone: tzinfo) -> datetime:
    """Give the first microsecond of the period that a moment is in."""
    local = in_zone(moment, zone)
    if period in ("second", "minute", "hour"):
        # The clock time itself says which of two equal hours it is.
        second = local.second if period == "second" else 0
        minute = 0 if period == "hour" else local.minute
        return in_zone(local.replace(minute=minute, second=second, microsecond=0), zone)
    return _at(_first_day(local, period), zone)


def end_of(moment: datetime, period: Period, zone: tzinfo) -> datetime:
    """Give the last microsecond of the period that a moment is in."""
    unit = _UNITS[period]
    if unit in _SECONDS:
        after = shift(start_of(moment, period, zone), 1, unit, zone)
    else:
        first = _first_day(in_zone(moment, zone), period)
        try:
            after = _at(_on_calendar(first, 1, unit), zone)
        except DateRangeError:
            # The last periods of the year 9999 end where time does.
            return _at(datetime.max, zone)
    return shift(after, -1e-6, "seconds", zone)


def difference(start: datetime, end: datetime, unit: Unit, zone: tzinfo) -> int | float:
    """Say how many units lie between two moments; negative when the end is the earlier.

    Days and weeks are counted on the calendar of the zone, with fractions; months, quarters and
    years are whole ones.
    """
    if unit in _SECONDS:
        # Two moments with the same zone object would be subtracted as clocks show them.
        passed = end.astimezone(UTC) - start.astimezone(UTC)
        return _ratio(passed, timedelta(seconds=_SECONDS[unit]))
    first, last = (in_zone(moment, zone).replace(tzinfo=None) for moment in (start, end))
    if unit in _DAYS:
        return _ratio(last - first, timedelta(days=_DAYS[unit]))
    return (
        _months_between(first, last) // _MONTHS[unit]
        if last >= first
        else -(_months_between(last, first) // _MONTHS[unit])
    )


def _months_between(first: datetime, last: datetime) -> int:
    months = (last.year - first.year) * 12 + last.month - first.month
    return months - 1 if _on_calendar(first, months, "months") > last else months


def _ratio(length: timedelta, unit: timedelta) -> int | float:
    whole, rest = divmod(length, unit)
    return whole if not rest else length / unit


def _on_calendar(local: datetime, steps: int, unit: Unit) -> datetime:
    try:
        if unit in _DAYS:
            return local + timedelta(days=steps * _DAYS[unit])
        months = local.year * 12 + local.month - 1 + steps * _MONTHS[unit]
        year, month = divmod(months, 12)
        if not 1 <= year <= 9999:
            raise DateRangeError
        day = min(local.day, calendar.monthrange(year, month + 1)[1])
        return local.replace(year=year, month=month + 1, day=day)
    except (OverflowError, ValueError) as error:
        raise DateRangeError from error


def _first_day(local: datetime, period: Period) -> datetime:
    day = local.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None, fold=0)
    match period:
        case "week":
            return _on_calendar(day, -day.weekday(), "days")
        case "month":
            return day.replace(day=1)
        case "quarter":
            return day.replace(day=1, month=(day.month - 1) // 3 * 3 + 1)
        case "year":
            return day.replace(day=1, month=1)
        case _:
            return day


def _at(local: datetime, zone: tzinfo) -> datetime:
    return in_zone(local.replace(tzinfo=zone, fold=0), zone)
