"""Local times of a zone as moments: what becomes of a time that a clock change skips or doubles.

There are two ways to read a calendar by a local clock:

- `at_set_times`: each local time happens exactly once a date. One that a change skips happens
  when the gap ends (several of them once, together); one that comes twice, the first time.
- `as_time_passes`: whatever the clock shows, when it shows it. What is skipped does not happen,
  what is doubled happens twice.

Both give moments in order, each once, whatever moment they are asked from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, TypeAlias

Matches: TypeAlias = Callable[[datetime], Iterator[datetime]]
"""Gives the local times of a calendar after a local time, without a zone, in whole seconds."""
Moments: TypeAlias = Callable[[Matches, tzinfo, datetime], Iterator[datetime]]

_SECOND: Final = timedelta(seconds=1)
_PROBE: Final = timedelta(hours=12)
"""No zone ever changed its clocks and changed them back within this time."""


def at_set_times(matches: Matches, zone: tzinfo, moment: datetime) -> Iterator[datetime]:
    """Give the moments after `moment` at which each matching local time happens, once a date."""
    last = moment
    for local in matches(_local(moment, zone)):
        found = _moment_of(local, zone)
        if found > last:
            last = found
            yield found


def as_time_passes(matches: Matches, zone: tzinfo, moment: datetime) -> Iterator[datetime]:
    """Give the moments after `moment` at which the local clock shows a matching time."""
    seen = moment.replace(microsecond=0)
    local = _local(seen, zone)
    while True:
        offset = _offset(seen, zone)
        change = None
        for match in matches(local):
            found = (match - offset).replace(tzinfo=UTC)
            change = _first_change(zone, seen, found)
            if change is not None:
                break
            yield found
            seen = found
        if change is None:
            return
        # The clock was changed before it came to show that. What it shows at once counts, too.
        seen = change
        local = _local(change, zone) - _SECOND


def _moment_of(local: datetime, zone: tzinfo) -> datetime:
    found = local.replace(tzinfo=zone).astimezone(UTC)
    if _local(found, zone) == local:
        return found
    # In a gap the two readings lie on either side of the change.
    return _change(zone, local.replace(tzinfo=zone, fold=1).astimezone(UTC), found)


def _first_change(zone: tzinfo, start: datetime, end: datetime) -> datetime | None:
    """Return the first second after `start`, `end` included, that has another offset."""
    low = start
    while low < end:
        high = min(low + _PROBE, end)
        if _offset(low, zone) != _offset(high, zone):
            return _change(zone, low, high)
        low = high
    return None


def _change(zone: tzinfo, low: datetime, high: datetime) -> datetime:
    """Return the first second after `low` that has the offset of `high`."""
    before = _offset(low, zone)
    while high - low > _SECOND:
        middle = low + (high - low) // 2 // _SECOND * _SECOND
        if _offset(middle, zone) == before:
            low = middle
        else:
            high = middle
    return high


def _local(moment: datetime, zone: tzinfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def _offset(moment: datetime, zone: tzinfo) -> timedelta:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None, "a zone has an offset at each moment"
    return offset
