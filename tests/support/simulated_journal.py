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


class SimulatedJournal(MemoryJournal):
    """The memory journal, whose commits may take time and whose disk may fail."""

    def __init__(self, clock: Clock, random: Random, commit_seconds: float) -> None:
        super().__init__("01k8wd4nj8-simulated", clock, lambda: random.randbytes(32))
        self.commit_seconds = commit_seconds
        self.commits: list[int] = []
        """The head after each commit."""
        self.failures: list[Exception] = []
        """What the next appends raise, before anything is kept."""

    async def append(self, commit: Commit, *, patient: bool = False) -> Appended:
        """Keep a commit once its time has passed."""
        if self.commit_seconds:
            await asyncio.sleep(self.commit_seconds)
        if self.failures:
            raise self.failures.pop(0)
        appended = await super().append(commit, patient=patient)
        self.commits.append(self.head)
        return appended
