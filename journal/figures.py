"""What is counted and timed while the service works: plain numbers, read when somebody asks.

Each figure is changed by one thread. Another may read it at any time: what it gets is a whole
copy, at most one change old. Nothing here knows who is counted: what tells figures apart are
names out of the code itself, never what came from outside.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from .envelope import Recorded
from .facts import Facts

DISK_SECONDS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0),
)
"""Bounds for what a disk takes: from a cache that says yes at once to one that hangs."""
_facts_of: Final = attrgetter("facts")


class Histogram:
    """How often something took how long."""

    __slots__ = ("_counts", "_total", "bounds")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` are the upper ends of the buckets in seconds, ascending, each included."""
        self.bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(self.bounds, seconds)] += 1
        self._total += seconds

    @property
    def counts(self) -> list[int]:
        """How many fell into each bucket, those beyond the last bound at the end."""
        return self._counts.copy()

    @property
    def total(self) -> float:
        """All durations together, in seconds."""
        return self._total


class JournalFigures:
    """What a journal does, and how long its disk takes."""

    def __init__(self) -> None:
        self.appends: Final = Histogram(DISK_SECONDS)
        """From the call of an append to its answer: the wait in the queue, the commit, the way."""
        self.groups: Final = Histogram(DISK_SECONDS)
        """A group commit as a whole, on the writer's thread."""
        self.syncs: Final = Histogram(DISK_SECONDS)
        """The part of it in which SQLite writes the log and the disk makes it durable."""
        self.groups_failed = 0
        """Group commits of which nothing was kept, because the disk refused."""
        self.events: Final[Counter[type[Facts]]] = Counter()
        """Committed events by type."""

    def committed(self, events: Sequence[Recorded]) -> None:
        """Count the events of a commit."""
        self.events.update(map(type, map(_facts_of, events)))
