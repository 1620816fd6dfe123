"""Time zones by name: the one place that says what is a zone and what is none."""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

NAME_LENGTH_MAX: Final = 64
_NO_ZONES: Final = ("right/", "posix/", "posixrules", "localtime", "Factory")
"""Zones with leap seconds, copies of others, and what the machine happens to be set to."""


class UnknownZoneError(Exception):
    """There is no such time zone; the message holds no name."""

    def __init__(self) -> None:
        super().__init__("is not a time zone such as 'Europe/Rome' or '+02:00'")


@lru_cache(maxsize=64)
def named_zone(name: str) -> ZoneInfo:
    """Return the zone of an IANA name such as `Europe/Rome` or `UTC`.

    Raises:
        UnknownZoneError: there is none of this name.
    """
    if len(name) > NAME_LENGTH_MAX or name.startswith(_NO_ZONES):
        raise UnknownZoneError
    try:
        # The library itself lets no name lead out of the folders of its zones.
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        raise UnknownZoneError from error
