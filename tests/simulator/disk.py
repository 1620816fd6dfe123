"""What outlives a process: the journal's rows, what of them is synced, and how the disk fails.

A commit goes to the page cache, which a SIGKILL leaves alone, and is synced before it counts. A
power cut leaves what was synced. Whoever looks on (`watch`) hears of each commit as it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Literal, TypeAlias

from refold.journal.envelope import Recorded
from refold.journal.errors import StoreFailedError
from refold.journal.journal import Commit
from refold.journal.memory_store import MemoryLedger, keep
from refold.journal.sequencer import Sequenced

Trouble: TypeAlias = Literal["", "full", "failing", "stalled"]
Watch: TypeAlias = Callable[[Commit, Sequenced], None]
STALL_SECONDS = 8.0


class Disk:
    """The file of a journal, as far as it can be simulated without one."""

    def __init__(self, dice: Random) -> None:
        self._dice = dice
        self.ledger = MemoryLedger()
        self.entries: list[bytes] = []
        """The entries as bytes, by position."""
        self.commits: list[Sequenced] = []
        self.synced = 0
        """How many commits a power cut leaves."""
        self.last_at = 0
        self.trouble: Trouble = ""
        self.watch: Watch = _nobody
        self.read_failures = 0
        """How many of the next reads fail."""

    @property
    def head(self) -> int:
        """The newest position in the page cache."""
        return len(self.ledger.events)

    def seconds(self) -> float:
        """Return how long the next commit takes."""
        if self.trouble == "stalled":
            return STALL_SECONDS * self._dice.random()
        return self._dice.choice((0.0, 0.0005, 0.002, 0.002, 0.01))

    def refuse(self) -> None:
        """Fail a write, if the disk is in trouble.

        Raises:
            StoreFailedError: nothing was kept.
        """
        if self.trouble == "full":
            raise StoreFailedError("the journal could not be written: database or disk is full")
        if self.trouble == "failing" and self._dice.random() < 0.7:
            raise StoreFailedError("the journal could not be written: disk I/O error")

    def refuse_read(self) -> None:
        """Fail a read, if one is to fail.

        Raises:
            StoreFailedError: this read gives nothing.
        """
        if self.read_failures:
            self.read_failures -= 1
            raise StoreFailedError("the journal could not be read: disk I/O error")

    def write(self, commit: Commit, made: Sequenced, at: int) -> None:
        """Put a commit into the page cache."""
        keep(self.ledger, made)
        self.entries.extend(row.entry for row in made.rows)
        self.commits.append(made)
        self.last_at = at
        self.watch(commit, made)

    def sync(self) -> None:
        """Make all that was written durable."""
        self.synced = len(self.commits)

    def is_synced(self, position: int) -> bool:
        """Tell whether a power cut would leave an event."""
        if self.synced == len(self.commits):
            return position <= self.head
        return position <= sum(len(made.rows) for made in self.commits[: self.synced])

    def cut_power(self) -> None:
        """Forget what was not synced."""
        if self.synced == len(self.commits):
            return
        kept, self.commits = self.commits[: self.synced], []
        self.ledger, self.entries = MemoryLedger(), []
        for made in kept:
            keep(self.ledger, made)
            self.entries.extend(row.entry for row in made.rows)
            self.commits.append(made)

    def events(self, stream: str) -> Sequence[Recorded]:
        """Return a stream's events."""
        return self.ledger.streams.get(stream, [])


def _nobody(commit: Commit, made: Sequenced) -> None:
    """Nobody looks on."""
    del commit, made
