"""The filters for dates: `date` as in Liquid, and what else a date is asked for.

What counts as a time: `'now'` and `'today'`, most ways to write a date, and seconds since 1970. All
without an offset is in UTC. A filter that takes a zone shows its result there; without one it
leaves the time in the zone that it has. Nothing gives nothing; what is no time is an error, except
for `date`, which gives it back, as Liquid does.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

from dateutil import parser as date_parser
from liquid.undefined import Undefined

from .component import NodeError
from .date_arithmetic import (
    PERIODS,
    DateRangeError,
    Period,
    Unit,
    difference,
    end_of,
    in_zone,
    shift,
    start_of,
    unit_of,
    zone_of,
)
from .date_formats import (
    FORMAT_LENGTH_MAX,
    DateFormatError,
    ReadFormat,
    unix_ms_of,
    unix_of,
    write,
    write_iso,
)
from .liquid_values import text_of
from .wall_clock import WallClock
from .zones import UnknownZoneError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

_NEWEST_SECOND: Final = 253_402_300_799
_DATE_LENGTH_MAX: Final = 64
_PADDED = re.compile(r"%[-_^#0]*[0-9]")


def _date(value: object, form: object = "", zone: object = None) -> object:
    """Format a time; what is no time is given back unchanged."""
    if _is_nothing(value):
        return ""
    pattern = text_of(form)
    if len(pattern) > FORMAT_LENGTH_MAX or _PADDED.search(pattern):
        raise ValueError
    given = _to_time(value)
    if given is None:
        return text_of(value)
    if not pattern and type(given) is date:
        return given.isoformat()
    moment = _shown(_aware(given), zone)
    return write(moment, pattern) if pattern else moment.isoformat()


def _timezone(value: object, zone: object) -> str | None:
    """Show a time as the clocks of a zone do."""
    return None if _is_nothing(value) else write_iso(_shown(_moment(value), zone))


def _add_time(value: object, amount: object, unit: object, zone: object = None) -> str | None:
    """Go forward; months and the like are steps on the calendar."""
    return None if _is_nothing(value) else _shifted(value, _number(amount), unit, zone)


def _subtract_time(value: object, amount: object, unit: object, zone: object = None) -> str | None:
    """Go back."""
    return None if _is_nothing(value) else _shifted(value, -_number(amount), unit, zone)


def _start_of(value: object, period: object, zone: object = None) -> str | None:
    """Go to the beginning of a `day`, `month`, …."""
    if _is_nothing(value):
        return None
    moment = _shown(_moment(value), zone)
    return write_iso(start_of(moment, _period(period), _own_zone(moment)))


def _end_of(value: object, period: object, zone: object = None) -> str | None:
    """Go to the end of a `day`, `month`, …."""
    if _is_nothing(value):
        return None
    moment = _shown(_moment(value), zone)
    return write_iso(end_of(moment, _period(period), _own_zone(moment)))


def _time_until(
    value: object, other: object, unit: object = "seconds", zone: object = None
) -> int | float | None:
    """Say how many units it is from one time to another; negative when that one is earlier."""
    if _is_nothing(value) or _is_nothing(other):
        return None
    moment = _shown(_moment(value), zone)
    return difference(moment, _moment(other), _unit(unit), _own_zone(moment))


def _parse_date(value: object, form: object, zone: object = None) -> str | None:
    """Read a text by a format such as `%d.%m.%Y`; strictly, unlike `date`."""
    if _is_nothing(value):
        return None
    try:
        made = ReadFormat(text_of(form)).read(text_of(value))
    except DateFormatError as error:
        raise NodeError("template_error", f"Filter 'parse_date': the text {error}") from error
    return write_iso(in_zone(made, UTC if _is_nothing(zone) else _zone(zone)))


def _unix(value: object) -> int | None:
    return None if _is_nothing(value) else unix_of(_moment(value))


def _unix_ms(value: object) -> int | None:
    return None if _is_nothing(value) else unix_ms_of(_moment(value))


def _shifted(value: object, amount: float, unit: object, zone: object) -> str:
    moment = _shown(_moment(value), zone)
    try:
        return write_iso(shift(moment, amount, _unit(unit), _own_zone(moment)))
    except DateRangeError as error:
        raise NodeError("template_error", f"A date {error}") from error


def _is_nothing(value: object) -> bool:
    return value is None or isinstance(value, Undefined) or value == ""


def _shown(moment: datetime, zone: object) -> datetime:
    return moment if _is_nothing(zone) else in_zone(moment, _zone(zone))


def _own_zone(moment: datetime) -> tzinfo:
    return moment.tzinfo or UTC


def _zone(value: object) -> tzinfo:
    try:
        return zone_of(text_of(value))
    except UnknownZoneError as error:
        raise NodeError("template_error", f"A filter's argument {error}") from error


def _unit(value: object) -> Unit:
    unit = unit_of(text_of(value))
    if unit is None:
        raise NodeError("template_error", "A filter for dates needs a unit such as 'days'")
    return unit


def _period(value: object) -> Period:
    name = text_of(value)
    for period in PERIODS:
        if name in (period, f"{period}s"):
            return period
    raise NodeError("template_error", "A filter for dates needs a period such as 'month'")


def _number(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    number = float(text_of(value))
    return int(number) if number.is_integer() else number


def _moment(value: object) -> datetime:
    given = _to_time(value)
    if given is None:
        raise NodeError("template_error", "A filter for dates meets what is no date")
    return _aware(given)


def _aware(given: datetime | date) -> datetime:
    if not isinstance(given, datetime):
        return datetime(given.year, given.month, given.day, tzinfo=UTC)
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def _to_time(value: object) -> datetime | date | None:
    if isinstance(value, (datetime, date)):
        return value
    if value in ("now", "today"):
        return WallClock.now()
    if isinstance(value, str) and value.isdigit() and len(value) <= len(str(_NEWEST_SECOND)):
        value = int(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC) if 0 <= value <= _NEWEST_SECOND else None
    if not isinstance(value, str) or len(value) > _DATE_LENGTH_MAX:
        return None
    today = WallClock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        return date_parser.parse(value, default=today)
    except (ValueError, OverflowError):
        return None


DATE_FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "add_time": _add_time,
    "date": _date,
    "end_of": _end_of,
    "parse_date": _parse_date,
    "start_of": _start_of,
    "subtract_time": _subtract_time,
    "time_until": _time_until,
    "timezone": _timezone,
    "unix": _unix,
    "unix_ms": _unix_ms,
}
"""Name of a filter to its function."""
