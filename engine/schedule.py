"""Schedules: when a workflow starts by itself, as pure functions of the scheduled time before.

| type | value | comes due |
| --- | --- | --- |
| `interval` | `5 minutes`, `90 seconds`, `2 hours`, `1 day` | in real time, whatever clocks show |
| `cron` | `*/5 9-17 * * 1-5` | five fields, in the zone's local time |
| `daily` | `09:00` | each day |
| `weekly` | `mon 09:00`, `mon,thu 09:00` | on these days of the week |
| `monthly` | `1 09:00` | each month, on its last day where it has no such day |

The next time follows from the one before, never from when somebody got round to it, so nothing
drifts. What a change of the clocks does is told in local_times.py: a cron expression whose minute
or hour field begins with `*` goes as time passes, everything else at set times.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import count
from typing import Final, Literal, TypeAlias, get_args
from zoneinfo import ZoneInfo

import msgspec

from .local_times import as_time_passes, at_set_times
from .zones import UnknownZoneError, named_zone

ScheduleType: TypeAlias = Literal["interval", "cron", "daily", "weekly", "monthly"]
Overlap: TypeAlias = Literal["allow", "skip"]
SCHEDULE_TYPES: Final[tuple[str, ...]] = get_args(ScheduleType)
VALUE_LENGTH_MAX: Final = 256
INTERVAL_SECONDS_MAX: Final = 366 * 86400
_LATEST_US: Final = 2**53 - 1
"""The greatest number that a fact may hold: a moment of the year 2255."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_DAY: Final = timedelta(days=1)
_UNIT_SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEKDAY_NAMES: Final = (
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
)
_EXPECTED: Final = {
    "interval": 'must be a number and a unit, such as "5 minutes" or "1 day"',
    "cron": 'must be five cron fields, such as "*/5 * * * *" or "0 9 * * 1-5"',
    "daily": 'must be a time such as "09:00"',
    "weekly": 'must be days of the week and a time, such as "mon 09:00" or "mon,thu 09:00"',
    "monthly": 'must be a day of the month and a time, such as "1 09:00"',
}


class ScheduleError(ValueError):
    """No schedule can be made of this; `field` is the one at fault."""

    def __init__(self, field: str, fault: str) -> None:
        super().__init__(f"{field}: {fault}")
        self.field = field
        self.fault = fault


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """When a workflow starts by itself; made by `parse_schedule`, its fields in canonical form."""

    # In the order of the alphabet: the canonical JSON of the fact is the encoding of this.
    catch_up: bool = False
    overlap: Overlap = "allow"
    timezone: str = "UTC"
    type: ScheduleType
    value: str

    @property
    def text(self) -> str:
        """The schedule as the fact `schedule` holds it."""
        return _encode(self).decode()

    def has_times_of(self, other: Schedule) -> bool:
        """Say whether another one comes due at the same times, whatever else is different."""
        return (self.type, self.value, self.timezone) == (other.type, other.value, other.timezone)

    def next_after(self, previous_us: int) -> int | None:
        """Return the first scheduled time after another one, None if there is none."""
        return next(self.all_after(previous_us), None)

    def all_after(self, previous_us: int) -> Iterator[int]:
        """Give the scheduled times after another one, in order; times are microseconds UTC."""
        return _times(self.type, self.value, self.timezone)(previous_us)

    def leap(self, due_us: int, now_us: int) -> tuple[int, int]:
        """Return a time that is due by now, and how many lie between it and the first due one.

        Of an interval it is the newest. The times of the other types have to be counted one by
        one, so of those it is the first.
        """
        if self.type != "interval" or now_us < due_us:
            return due_us, 0
        period = _interval_us(self.value)
        count_ = (now_us - due_us) // period
        return due_us + count_ * period, count_


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Schedule).decode


def parse_schedule(
    type_: str,
    value: str,
    *,
    timezone: str = "UTC",
    catch_up: bool = False,
    overlap: Overlap = "allow",
) -> Schedule:
    """Read a schedule as its author wrote it.

    Raises:
        ScheduleError: it names `schedule_type`, `schedule_value` or `timezone`.
    """
    if type_ not in SCHEDULE_TYPES:
        known = ", ".join(SCHEDULE_TYPES)
        raise ScheduleError("schedule_type", f"must be one of manual, {known}")
    if len(value) > VALUE_LENGTH_MAX:
        raise ScheduleError("schedule_value", f"may have {VALUE_LENGTH_MAX} characters at most")
    if not value.isascii():
        raise ScheduleError("schedule_value", _EXPECTED[type_])
    check_zone(timezone)
    canonical = _CANONICAL[type_](value.strip().lower())
    if canonical is None:
        raise ScheduleError("schedule_value", _EXPECTED[type_])
    made = {"type": type_, "value": canonical, "timezone": timezone}
    return msgspec.convert({**made, "catch_up": catch_up, "overlap": overlap}, Schedule)


@lru_cache(maxsize=2048)
def read_schedule(text: str) -> Schedule:
    """Read the fact `schedule`.

    Raises:
        ScheduleError: this machine doesn't know the zone.
    """
    made = _decode(text)
    check_zone(made.timezone)
    return made


def check_zone(name: str) -> None:
    """See that a time zone exists.

    Raises:
        ScheduleError: it names `timezone`.
    """
    _zone(name)


def moment_text(at_us: int) -> str:
    """Write a scheduled time as all times of the service: `2025-10-31T12:00:00.000000Z`."""
    at = _EPOCH + at_us * _MICROSECOND
    return at.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


# The times of each type


@lru_cache(maxsize=2048)
def _times(type_: str, value: str, timezone: str) -> Callable[[int], Iterator[int]]:
    """Compile a canonical schedule: from a time to the scheduled times after it."""
    if type_ == "interval":
        period = _interval_us(value)
        return lambda previous: _until_latest(count(previous + period, period))
    zone = _zone(timezone)
    moments = at_set_times
    if type_ == "cron":
        minute, hour = value.split()[:2]
        if minute.startswith("*") or hour.startswith("*"):
            moments = as_time_passes

        def matches(local: datetime) -> Iterator[datetime]:
            return _cron_matches(value, local)
    else:
        at = _time_of_day(value.split()[-1])
        assert at is not None, "the value is canonical"
        is_day = _day_rule(type_, value)

        def matches(local: datetime) -> Iterator[datetime]:
            return _day_matches(is_day, at, local)

    def times(previous: int) -> Iterator[int]:
        start = _EPOCH + previous * _MICROSECOND
        return _until_latest((m - _EPOCH) // _MICROSECOND for m in moments(matches, zone, start))

    return times


def _until_latest(times: Iterator[int]) -> Iterator[int]:
    try:
        for at in times:
            if at > _LATEST_US:
                return
            yield at
    except OverflowError:
        # The calendar ends with the year 9999.
        return


def _cron_matches(value: str, local: datetime) -> Iterator[datetime]:
    # Imported here because most workflows have no schedule, and idle memory is counted.
    from cronsim import CronSim

    return CronSim(value, local)


def _day_matches(is_day: Callable[[date], bool], at: time, local: datetime) -> Iterator[datetime]:
    day = local.date()
    while True:
        found = datetime.combine(day, at)
        if found > local and is_day(day):
            yield found
        day += _DAY


def _day_rule(type_: str, value: str) -> Callable[[date], bool]:
    if type_ == "daily":
        return lambda _: True
    days = value.split()[0]
    if type_ == "weekly":
        weekdays = {_WEEKDAYS.index(name) for name in days.split(",")}
        return lambda day: day.weekday() in weekdays
    number = int(days)
    return lambda day: day.day == min(number, monthrange(day.year, day.month)[1])


@lru_cache(maxsize=512)
def _interval_us(value: str) -> int:
    number, unit = value.split()
    return int(number) * _UNIT_SECONDS[unit.removesuffix("s")] * 1_000_000


def _zone(name: str) -> ZoneInfo:
    try:
        return named_zone(name)
    except UnknownZoneError:
        fault = 'must be an IANA time zone, such as "Europe/Berlin" or "UTC"'
        raise ScheduleError("timezone", fault) from None


# The canonical form of each type's value; None for what isn't one


def _canonical_interval(value: str) -> str | None:
    found = re.fullmatch(r"([0-9]{1,9}) *(second|minute|hour|day|week)s?", value)
    if found is None:
        return None
    number, unit = int(found[1]), found[2]
    if not 1 <= number * _UNIT_SECONDS[unit] <= INTERVAL_SECONDS_MAX:
        raise ScheduleError("schedule_value", "must be from 1 second to 366 days")
    return f"{number} {unit}" + ("" if number == 1 else "s")


def _canonical_cron(value: str) -> str | None:
    from cronsim import CronSimError

    fields = value.upper().split()
    if len(fields) != 5:
        return None
    canonical = " ".join(fields)
    try:
        # From a fixed day, so that what is accepted does not depend on when it is saved; no
        # pattern that comes at all stays away for longer than forty years.
        found = next(_cron_matches(canonical, datetime(2000, 1, 1)), None)
    except (CronSimError, ValueError, OverflowError) as error:
        told = str(error).removeprefix("Bad ") if isinstance(error, CronSimError) else ""
        fault = f"; the {told} field is wrong" if told else ""
        raise ScheduleError("schedule_value", f"{_EXPECTED['cron']}{fault}") from error
    if found is None:
        raise ScheduleError("schedule_value", "never comes due")
    return canonical


def _canonical_daily(value: str) -> str | None:
    at = _time_of_day(value)
    return None if at is None else f"{at:%H:%M}"


def _canonical_weekly(value: str) -> str | None:
    days, _, at_text = value.rpartition(" ")
    at = _time_of_day(at_text)
    numbers = {_weekday(name.strip()) for name in days.split(",")}
    if at is None or None in numbers:
        return None
    named = ",".join(name for number, name in enumerate(_WEEKDAYS) if number in numbers)
    return f"{named} {at:%H:%M}"


def _canonical_monthly(value: str) -> str | None:
    found = re.fullmatch(r"([0-9]{1,2}) +([0-9:]+)", value)
    at = None if found is None else _time_of_day(found[2])
    if found is None or at is None:
        return None
    if not 1 <= int(found[1]) <= 31:
        raise ScheduleError("schedule_value", "the day of the month must be from 1 to 31")
    return f"{int(found[1])} {at:%H:%M}"


def _time_of_day(text: str) -> time | None:
    found = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})", text)
    if found is None or int(found[1]) > 23 or int(found[2]) > 59:
        return None
    return time(int(found[1]), int(found[2]))


def _weekday(name: str) -> int | None:
    for names in (_WEEKDAYS, _WEEKDAY_NAMES):
        if name in names:
            return names.index(name)
    return None


_CANONICAL: Final[dict[str, Callable[[str], str | None]]] = {
    "interval": _canonical_interval,
    "cron": _canonical_cron,
    "daily": _canonical_daily,
    "weekly": _canonical_weekly,
    "monthly": _canonical_monthly,
}
