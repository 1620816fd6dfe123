"""The views of a simulated service: the real projector, one step of its thread at a time.

Nothing of the projector is replaced but its thread, its file and what it waits by: where it would
wait, it leaves, and is called again when the wait would be over. The file is a database in memory
that outlives the process; in the middle of its statements the process may be killed.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, cast

from refold.journal.envelope import Recorded
from refold.journal.journal import Journal
from refold.projections.built_in import BUILT_IN
from refold.projections.errors import ProjectionError
from refold.projections.generations import digest_of, live_generations
from refold.projections.journal_file import JournalFile
from refold.projections.projection import SqlValue
from refold.projections.projector import QUEUED_MAX, Projector
from refold.projections.views import Views
from refold.projections.views_file import OpenedFile, connect, prepare
from refold.projections.workers import Workers
from tests.simulator.disk import Disk
from tests.simulator.loop import KilledError, SimulatedLoop

NOWHERE = Path("/nonexistent/views.db")


class ViewsFile(sqlite3.Connection):
    """A database in memory, in the middle of whose statements the process may be killed."""

    kill_in = 0
    """The statement at which it is, counted from here; 0 for none."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Run a statement."""
        self._count()
        return super().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
        """Run a statement for each of some parameters."""
        self._count()
        return super().executemany(sql, parameters)

    def _count(self) -> None:
        if self.kill_in:
            self.kill_in -= 1
            if not self.kill_in:
                raise KilledError


@cache
def _template() -> sqlite3.Connection:
    """Make an empty file as the service makes it, once."""
    made = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "views.db"
        prepare(path, BUILT_IN, cast("JournalFile", DiskJournal(Disk(Random(0)), "template")))
        with closing(connect(path)) as connection:
            connection.backup(made)
    return made


def new_views_file() -> ViewsFile:
    """Return an empty file of the views."""
    made = sqlite3.connect(
        ":memory:", isolation_level=None, check_same_thread=False, factory=ViewsFile
    )
    _template().backup(made)
    return made


class DiskJournal:
    """The journal's file as projections read it; see `JournalFile`."""

    def __init__(self, disk: Disk, journal_id: str) -> None:
        self._disk = disk
        self._id = journal_id

    def identity(self) -> str:
        """Return the journal's id."""
        return self._id

    def head(self) -> int:
        """Return the newest position."""
        return self._disk.head

    def leaf(self, position: int) -> bytes:
        """Return the leaf hash of the entry at a position."""
        return self._disk.ledger.events[position - 1].leaf if 0 < position <= self.head() else b""

    def page(self, after: int, limit: int) -> list[Recorded]:
        """Read the events that follow a position."""
        return self._disk.ledger.events[after : after + limit]


class _WaitsError(Exception):
    """The thread would wait here, for so many seconds at most."""

    def __init__(self, seconds: float | None) -> None:
        super().__init__()
        self.seconds = seconds


class Turns:
    """The condition that the projector waits by: it tells that it would wait, and does not."""

    def __init__(self, plan: Callable[[float], None]) -> None:
        self._plan = plan
        self.is_over = False
        """Whether the newest wait has lasted as long as it may."""

    def __enter__(self) -> Turns:
        """Take a lock that nobody else wants."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back."""

    def notify(self) -> None:
        """Wake the projector."""
        self._plan(0)

    def wait_for(self, holds: Callable[[], bool], timeout: float | None = None) -> bool:
        """Return if something is true, or the time is over; else leave."""
        if holds():
            return True
        if timeout is not None and self.is_over:
            self.is_over = False
            return False
        raise _WaitsError(timeout)


class SimulatedProjector(Projector):
    """The projector, called from the loop."""

    def __init__(self, loop: SimulatedLoop, file: ViewsFile, moved: Callable[[], None]) -> None:
        super().__init__(NOWHERE, NOWHERE, BUILT_IN, moved)
        self._loop = loop
        self._turns = Turns(self._plan)
        self._wake = cast("Any", self._turns)
        self.file = file
        self.is_dead = False
        self._lanes.open(file, cast("OpenedFile", _SteadyFile()))

    def start(self) -> None:
        """Begin to catch up."""
        self._plan(0)

    def stop(self) -> None:
        """Do nothing more."""
        self.is_dead = True

    def _plan(self, seconds: float, *, is_over: bool = False) -> None:
        self._loop.call_later(seconds, self._go_on, is_over)

    def _go_on(self, is_over: bool) -> None:
        if self.is_dead or self.is_halted:
            return
        self._turns.is_over = is_over
        try:
            self._follow(self.file)
        except _WaitsError as wait:
            if wait.seconds is not None:
                self._plan(wait.seconds, is_over=True)
        except KilledError:
            self._loop.kill_at = 0
        except (sqlite3.Error, ProjectionError) as error:
            self._halt(str(error))


class _SteadyFile:
    """A file that nobody deletes or replaces."""

    def check(self) -> None:
        """Find nothing wrong."""


class SimulatedReaders:
    """The connections that lists are read through; each read is a hop to a thread and back."""

    def __init__(self, file: ViewsFile, dice: Random) -> None:
        self._file = file
        self._dice = dice

    async def fetch(
        self, incarnation: int, statement: str, parameters: Sequence[SqlValue]
    ) -> Iterable[Any]:
        """Return the rows of a statement."""
        del incarnation
        await asyncio.sleep(self._dice.choice((0.0, 0.0, 0.0005)))
        return sqlite3.Connection.execute(self._file, statement, parameters).fetchall()


class SimulatedViews(Views):
    """The views over a database in memory."""

    def __init__(
        self, loop: SimulatedLoop, journal: Journal, file: ViewsFile, dice: Random
    ) -> None:
        super().__init__(
            NOWHERE, journal, NOWHERE, BUILT_IN, Workers(NOWHERE.parent, ()), QUEUED_MAX, 0
        )
        self.simulated = SimulatedProjector(loop, file, self._moved)
        # The two are final in the class, for everybody but a simulation.
        object.__setattr__(self, "projector", self.simulated)
        object.__setattr__(self, "readers", SimulatedReaders(file, dice))


def digests(file: ViewsFile) -> dict[str, tuple[int, str]]:
    """Return the position and the digest of each projection's live rows."""
    live = live_generations(file)
    return {
        projection.name: (
            live[projection.name].position,
            digest_of(file, projection, live[projection.name].generation),
        )
        for projection in BUILT_IN
    }
