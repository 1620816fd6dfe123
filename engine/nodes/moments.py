"""Dates and times as operands: what counts as one, and in which time zone it is read.

A moment is written as a date (`2025-10-31`, the start of that day), as an RFC 3339 date-time
(seconds and offset may be missing), or in seconds since 1970: a number, or a text of nine digits
or more, such as `{{ x | date: "%s" }}` gives. What has no offset is read in the given time zone;
a time that a change of clocks skips or repeats is read with the offset before the change.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Final
from zoneinfo import ZoneInfo

from ..component import Json, NodeError
from ..template_values import kind_of
from ..zones import UnknownZoneError, named_zone

_WRITTEN = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,12}))?)?"
    r" ?(?:([Zz])|([+-])([0-9]{2}):?([0-9]{2})?)?)?",
    re.ASCII,
)
_SECONDS = re.compile(r"-?[0-9]{9,12}(?:\.[0-9]{1,12})?", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS_MIN: Final = -62_135_596_800
_SECONDS_MAX: Final = 253_402_300_799


def need_moment(value: Json, field: str) -> datetime:
    """Take a date or time; what was written without an offset is naive, all else in UTC.

    Raises `NodeError` with code `type_mismatch`, whose message never holds the value.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _from_seconds(value, field)
    if not isinstance(value, str):
        message = f"Operand '{field}' is {kind_of(value)}, a date or time is needed"
        raise NodeError("type_mismatch", message)
    if _SECONDS.fullmatch(value):
        return _from_seconds(float(value) if "." in value else int(value), field)
    found = _WRITTEN.fullmatch(value)
    try:
        moment = _from_written(found) if found else None
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        message = f"Operand '{field}' is a string that holds no date or time, one is needed"
        raise NodeError("type_mismatch", message)
    return moment


def in_zone(moment: datetime, zone: ZoneInfo, field: str) -> datetime:
    """Give a moment in UTC, where a naive one is read in `zone`."""
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except OverflowError as error:
        raise _out_of_range(field) from error


def need_zone(value: Json, field: str) -> ZoneInfo:
    """Take the name of a time zone, as in `Europe/Rome`; nothing means UTC.

    Raises `NodeError` with code `timezone_invalid`.
    """
    if value is None or value == "":
        return named_zone("UTC")
    if isinstance(value, str):
        with suppress(UnknownZoneError):
            return named_zone(value)
    message = f"Operand '{field}' is not the name of a time zone such as 'Europe/Rome'"
    raise NodeError("timezone_invalid", message)


def to_wire(moment: datetime) -> str:
    """Write a moment as all times of the service are written: UTC, six digits, `Z`."""
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    return f"{text}Z"


def _from_seconds(seconds: float, field: str) -> datetime:
    if not _SECONDS_MIN <= seconds <= _SECONDS_MAX:
        raise _out_of_range(field)
    whole = int(seconds // 1)
    # The fraction is added by itself: a float of so many seconds has no microseconds to spare.
    return _EPOCH + timedelta(seconds=whole, microseconds=round((seconds - whole) * 1_000_000))


def _out_of_range(field: str) -> NodeError:
    return NodeError(
        "type_mismatch",
        f"Operand '{field}' is not within the years 1 to 9999 (numbers count in seconds)",
    )


def _from_written(found: re.Match[str]) -> datetime:
    year, month, day, hour, minute, second, fraction, zulu, sign, ahead, minutes = found.groups()
    # A leap second, which RFC 3339 allows, is the second after the one before it.
    is_leap = second == "60"
    moment = datetime(
        int(year),
        int(month),
        int(day),
        int(hour or 0),
        int(minute or 0),
        59 if is_leap else int(second or 0),
        int((fraction or "0")[:6].ljust(6, "0")),
    ) + timedelta(seconds=1 if is_leap else 0)
    if zulu:
        return moment.replace(tzinfo=UTC)
    if sign is None:
        return moment
    offset = timedelta(hours=int(ahead), minutes=int(minutes or 0))
    if int(minutes or 0) > 59:
        raise ValueError
    zone = timezone(offset if sign == "+" else -offset)
    return moment.replace(tzinfo=zone).astimezone(UTC)
