"""What "now" is where a node asks for it: one source, set once, so that a test can fix it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final

from ..journal.clock import Clock, SystemClock

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class WallClock:
    """Where nodes and templates get the time from.

    A node that reads it is not repeatable, which is harmless: what a node passes on is recorded,
    and never computed a second time.
    """

    source: ClassVar[Clock] = SystemClock()
    """Set once, at start, to the service's clock."""

    @classmethod
    def now(cls) -> datetime:
        """Return the present time, in UTC."""
        return _EPOCH + timedelta(microseconds=cls.source.now_us())
