"""Time and randomness, the two things that the pure core may not take by itself."""

from __future__ import annotations

import os
import time
from typing import Protocol

from .ids import RANDOM_BYTES, ulid


class Clock(Protocol):
    """Where the time comes from, in microseconds UTC."""

    def now_us(self) -> int:
        """Return the present time; it never goes back within one clock."""
        ...


class SystemClock:
    """The machine's clock, made monotonic: a clock set back stands still until time catches up."""

    def __init__(self) -> None:
        self._last = 0

    def now_us(self) -> int:
        """Return the present time, never less than the last one that this thread was given."""
        # No lock: this is asked two dozen times a run, and the writer, on a thread of its own,
        # keeps commit times in order by itself. Two threads that ask at once while the machine's
        # clock is set back may differ by the time between their questions.
        now = time.time_ns() // 1000
        last = self._last
        if now <= last:
            return last
        self._last = now
        return now

    def advance_to(self, at_us: int) -> None:
        """Never again return less than `at_us`: the journal's last commit may be ahead of us."""
        self._last = max(self._last, at_us)


class IdSource:
    """Makes ids from a clock and the operating system's randomness."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def new(self, prefix: str = "") -> str:
        """Return a new id; ids made later sort later, to the millisecond."""
        return prefix + ulid(self._clock.now_us(), os.urandom(RANDOM_BYTES))
