"""Times on the wire: UTC, six fractional digits, `Z`; microseconds inside."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

_SECOND_US: Final = 1_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def to_wire(at_us: int) -> str:
    """Write a time, such as `2025-10-31T12:00:00.000000Z`."""
    seconds, rest = divmod(at_us, _SECOND_US)
    return f"{_second(seconds)}.{rest:06d}Z"


def to_wire_or_none(at_us: int) -> str | None:
    """Write a time, None for one that has not come."""
    return to_wire(at_us) if at_us else None


def from_wire(text: str) -> int:
    """Read an RFC 3339 time as microseconds.

    Raises:
        ValueError: it is no time, or has no zone.
    """
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("a time needs a zone, such as Z")
    since = at - _EPOCH
    return (since.days * 86400 + since.seconds) * _SECOND_US + since.microseconds
