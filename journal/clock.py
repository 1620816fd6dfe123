"""Time and randomness, the two things that the pure core may not take by itself."""

from __future__ import annotations

import os
import threading
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
        self._lock = threading.Lock()

    def now_us(self) -> int:
        """Return the present time, never less than any time returned or seen before."""
        with self._lock:
            self._last = max(self._last, time.time_ns() // 1000)
            return self._last

    def advance_to(self, at_us: int) -> None:
        """Never again return less than `at_us`: the journal's last commit may be ahead of us."""
        with self._lock:
            self._last = max(self._last, at_us)


class IdSource:
    """Makes ids from a clock and the operating system's randomness."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def new(self, prefix: str = "") -> str:
        """Return a new id; ids made later sort later, to the millisecond."""
        return prefix + ulid(self._clock.now_us(), os.urandom(RANDOM_BYTES))
