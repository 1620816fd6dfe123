"""The journal of a simulated service, and its ids: in memory, and repeatable from a seed."""

from __future__ import annotations

import asyncio
from random import Random

from refold.journal.clock import Clock, IdSource
from refold.journal.ids import ulid
from refold.journal.journal import Appended, Commit
from refold.journal.memory_store import MemoryJournal


class SeededIds(IdSource):
    """Ids from a seed instead of the system's randomness."""

    def __init__(self, clock: Clock, random: Random) -> None:
        super().__init__(clock)
        self._now_us = clock.now_us
        self._random = random

    def new(self, prefix: str = "") -> str:
        """Return a new id."""
        return prefix + ulid(self._now_us(), self._random.randbytes(16))


class _Stamp(Clock):
    """A clock that can be held at a time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.held_at = 0

    def now_us(self) -> int:
        """Return the time that it is held at, or the present one."""
        return self.held_at or self._clock.now_us()


class SimulatedJournal(MemoryJournal):
    """The memory journal, whose commits may take time and whose disk may fail."""

    def __init__(self, clock: Clock, random: Random, commit_seconds: float) -> None:
        self._stamp = _Stamp(clock)
        super().__init__("01k8wd4nj8-simulated", self._stamp, lambda: random.randbytes(32))
        self.is_stamped_first = False
        """Whether events get the time at which their commit began, as the writer thread does it."""
        self.commit_seconds = commit_seconds
        self.commits: list[int] = []
        """The head after each commit."""
        self.failures: list[Exception] = []
        """What the next appends raise, before anything is kept."""

    async def append(self, commit: Commit, *, patient: bool = False) -> Appended:
        """Keep a commit once its time has passed."""
        began = self._stamp.now_us()
        if self.commit_seconds:
            await asyncio.sleep(self.commit_seconds)
        if self.failures:
            raise self.failures.pop(0)
        self._stamp.held_at = began if self.is_stamped_first else 0
        try:
            appended = await super().append(commit, patient=patient)
        finally:
            self._stamp.held_at = 0
        self.commits.append(self.head)
        return appended
