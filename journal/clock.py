"""Time and randomness, the two things that the pure core may not take by itself."""

from __future__ import annotations

import os
import time
from typing import Final, Protocol

from .ids import RANDOM_BYTES, ulid

_DRAWN_AT_ONCE: Final = 256


class Clock(Protocol):
    """Where the time comes from, in microseconds UTC."""

    def now_us(self) -> int:
        """Return the present time; it never goes back within one clock."""
        ...


class SystemClock:
    """The machine's clock, made monotonic: it never goes back, and never stands still.

    While the machine's clock is behind what was told before, because it was set back or the
    journal's last commit is ahead of it, this one goes on at nine tenths of its pace until the
    other has caught up: waits that were to be short stay so.
    """

    def __init__(self) -> None:
        # One tuple, so that threads which ask at once see a time with the moment it was told at.
        self._told = 0, time.monotonic_ns()

    def now_us(self) -> int:
        """Return the present time, never less than the last one that this thread was given."""
        # No lock: this is asked two dozen times a run, and the writer, on a thread of its own,
        # keeps commit times in order by itself. Two threads that ask at once while the machine's
        # clock is set back may differ by the time between their questions.
        last_ns, moment_ns = self._told
        steady_ns = time.monotonic_ns()
        now_ns = max(time.time_ns(), last_ns + (steady_ns - moment_ns) * 9 // 10)
        self._told = now_ns, steady_ns
        return now_ns // 1000

    def advance_to(self, at_us: int) -> None:
        """Never again return less than `at_us`: the journal's last commit may be ahead of us."""
        if at_us > self.now_us():
            self._told = at_us * 1000, time.monotonic_ns()


class RandomSource:
    """The operating system's random bytes, in portions of one size; any thread may ask.

    They are drawn many at a time: a call of the system lets other threads run, which costs more
    than all else that is done for an event between two of them.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._left: list[bytes] = []

    def __call__(self) -> bytes:
        """Return random bytes that nobody was given before."""
        while True:
            try:
                # To take one out of a list is one step: no two threads get the same.
                return self._left.pop()
            except IndexError:
                drawn, size = os.urandom(self._size * _DRAWN_AT_ONCE), self._size
                self._left.extend([drawn[at : at + size] for at in range(0, len(drawn), size)])


class IdSource:
    """Makes ids from a clock and the operating system's randomness."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._draw = RandomSource(RANDOM_BYTES)

    def new(self, prefix: str = "") -> str:
        """Return a new id; ids made later sort later, to the millisecond."""
        return prefix + ulid(self._clock.now_us(), self._draw())
