"""The process of one developer's projection: `python -m refold.projections.worker`.

A fold of somebody else may loop, crash, or take all memory, so it runs where that hurts nobody.
Before each event the kernel is told to end the process unless it asks again in time: no loop in
Python or in C can outlive that, not even when the service is gone. What the process is doing stands
in a small file that it shares with the service (`worker_state.py`).

Exit codes: 0 asked to stop, 3 stopped for the reason on standard output, 4 to be started again.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Final

import msgspec

from ..journal.envelope import Recorded
from ..journal.errors import JournalError
from ..journal.events import PayloadErased, SegmentArchived
from ..journal.sqlite_file import JOURNAL_FILE
from .applying import Applier
from .checking import check_one
from .errors import (
    ChangedFoldError,
    PoisonEventError,
    ProjectionError,
    ViewsBusyError,
    ViewsFailedError,
    ViewsReplacedError,
)
from .faults import Fault, fault_of
from .fingerprint import fingerprint
from .fitting import drop_all, drop_old, fit
from .generations import (
    Generation,
    create_generation,
    drop_generation,
    generations,
    is_current,
    live_generations,
    mark,
)
from .journal_file import JournalFile, open_journal_file
from .loading import load
from .projection import Projection, is_apart
from .rebuild import Build, growing, rebuild
from .scrubbing import acquit, is_owed, owe, scrub
from .sqlite_errors import is_absent, is_damage, is_passing
from .sqlite_writes import transaction
from .views_file import OpenedFile, connect, file_of, growth_lock, make_ready
from .worker_state import GROWING, LIVE, WorkerState

EXIT_STOPPED: Final = 3
EXIT_AGAIN: Final = 4
POLL_SECONDS: Final = 0.02
"""How often the journal is asked for news: a process of its own hears of none by itself."""
_NICENESS: Final = 19
_REST_TIMES: Final = 4
"""How much longer than a page of events took a comparison in the background rests after it."""
_REST_SECONDS_MAX: Final = 1.0
OWED_SECONDS: Final = 1.0
"""How long what is to be overwritten may wait for a moment without events."""


def main(arguments: Sequence[str]) -> int:
    """Follow the journal, rebuild, roll back or check; the arguments are those of `workers.py`."""
    verb, directory, reference, state_file, seconds = arguments
    state = WorkerState(int(state_file))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_service, daemon=True).start()
    # What has the lowest priority may wait for a processor for longer than a fold may take.
    timer = signal.ITIMER_PROF if verb == "check" else signal.ITIMER_REAL
    watch = _Watch(state, float(seconds), timer)
    try:
        projection = load(reference).projection
        if verb in ("rebuild", "rollback"):
            rebuild(
                Path(directory),
                [projection.name],
                projections=[projection],
                roll_back=verb == "rollback",
                report=state.progress,
                watch=watch,
            )
            return 0
        if verb == "check":
            return _check(Path(directory), projection, watch)
        _Follower(Path(directory), projection, state, watch).run()
    except (ViewsReplacedError, ViewsBusyError):
        return EXIT_AGAIN
    except sqlite3.Error as error:
        if is_passing(error) or is_damage(error) or is_absent(error):
            return EXIT_AGAIN
        return _stopped(fault_of(error))
    except PoisonEventError as error:
        fault = Fault(code=error.why, message=error.told, position=error.position, type=error.type)
        return _stopped(fault)
    except (ProjectionError, JournalError, OSError) as error:
        return _stopped(fault_of(error))
    return 0


class _Watch:
    """Lets the kernel end this process when one event takes too long."""

    def __init__(self, state: WorkerState, seconds: float, timer: int) -> None:
        """`timer` is the kernel's: of time, or of processor time."""
        self._state = state
        self._seconds = seconds
        self._timer = timer

    def __call__(self, position: int) -> None:
        """Begin with an event."""
        self._state.folding(position)
        signal.setitimer(self._timer, self._seconds)

    def rest(self) -> None:
        """End with all events."""
        signal.setitimer(self._timer, 0)
        self._state.folding(0)


class _Follower:
    """Keeps the live generation of one projection at the journal's head."""

    def __init__(
        self, directory: Path, projection: Projection, state: WorkerState, watch: _Watch
    ) -> None:
        self._directory = directory
        self._path = directory / file_of(projection)
        self._is_apart = is_apart(projection)
        self._owing_since = 0.0
        self._projection = projection
        self._code = fingerprint(projection)
        self._state = state
        self._watch = watch

    def run(self) -> None:
        """Follow until the process ends."""
        self._state.version(self._projection.version)
        journal_path = self._directory / JOURNAL_FILE
        if self._is_apart:
            make_ready(self._path, journal_path, (), [self._projection.name])
            if is_owed(self._path):
                self._owing_since = time.monotonic()
        with (
            open_journal_file(journal_path) as journal,
            closing(connect(self._path)) as connection,
        ):
            connection.execute("PRAGMA secure_delete = 1")
            self._grow_if_needed(connection, journal)
            while True:
                self._follow(connection, journal)

    def _grow_if_needed(self, connection: sqlite3.Connection, journal: JournalFile) -> None:
        """Make rows of this version beside those of another, which are shown meanwhile."""
        row = live_generations(connection).get(self._projection.name)
        if row is not None and is_current(connection, self._projection, row, self._code):
            return
        with growth_lock(self._directory, [self._projection]):
            drop_old(connection, self._projection)
            if self._is_apart and row is not None and row.version != self._projection.version:
                # Nobody would take out of these rows what is erased meanwhile.
                owe(self._path)
                self._owing_since = time.monotonic()
                drop_all(connection)
                row = None
            begun = growing(connection, self._projection)
            if row is None or (begun is None and self._is_spoilt(row)):
                fit(connection, self._projection)
                drop_old(connection, self._projection)
                return
            if begun is None and row.version == self._projection.version:
                raise ChangedFoldError(row.name, row.version)
            with transaction(connection):
                begun = (
                    begun
                    or self._kept(connection)
                    or create_generation(
                        connection, self._projection, state="growing", fingerprint=self._code
                    )
                )
            self._state.doing(GROWING)
            build = Build(
                connection,
                self._path,
                [self._projection],
                [begun],
                journal,
                report=self._state.progress,
                watch=self._watch,
            )
            build.run()
            self._watch.rest()
            drop_old(connection, self._projection)

    def _is_spoilt(self, row: Generation) -> bool:
        """Tell rows of this very code whose tables somebody changed."""
        return (row.version, row.fingerprint) == (self._projection.version, self._code)

    def _kept(self, connection: sqlite3.Connection) -> Generation | None:
        """Take up rows that this version had made before another one came."""
        for row in generations(connection):
            if (
                row.name == self._projection.name
                and row.state == "kept"
                and is_current(connection, self._projection, row, self._code)
            ):
                mark(connection, row, "growing")
                return row
        return None

    def _follow(self, connection: sqlite3.Connection, journal: JournalFile) -> None:
        """Keep one live generation at the head until another one takes over."""
        row = live_generations(connection)[self._projection.name]
        if not is_current(connection, self._projection, row, self._code):
            # Another version, or other code of this one: what is on the disk now must be loaded.
            raise ViewsReplacedError(f"projection {row.name} is live in another version")
        build = Build(connection, self._path, [self._projection], [row], journal, watch=self._watch)
        file = OpenedFile(self._path)
        self._state.doing(LIVE)
        self._state.reached(row.position)
        while True:
            page = journal.page(build.position, build.page)
            if not page:
                file.check()
                self._state.is_fed()
                self._settle(build.position)
                time.sleep(POLL_SECONDS)
            if self._generation(connection) != row.generation:
                return
            if page:
                try:
                    self._step(connection, build, page)
                finally:
                    self._state.reached(build.position)
                self._watch.rest()
                if not self._owing_since or time.monotonic() - self._owing_since > OWED_SECONDS:
                    self._settle(build.position)

    def _step(self, connection: sqlite3.Connection, build: Build, page: Sequence[Recorded]) -> None:
        """Apply a page; what takes bodies away is applied by itself, to all generations."""
        if not self._is_apart:
            build.step(page)
            return
        for is_forgetting, group in groupby(page, _takes_bodies):
            events = list(group)
            if not is_forgetting:
                build.step(events)
                continue
            # Before the rows go: a process that ends here leaves word of what it owes.
            owe(self._path)
            before = connection.total_changes
            self._forget_elsewhere(connection, events)
            build.step(events)
            # One change notes how far the rows are.
            if connection.total_changes - before > 1:
                self._owing_since = self._owing_since or time.monotonic()
            elif not self._owing_since:
                acquit(self._path)

    def _forget_elsewhere(self, connection: sqlite3.Connection, events: Sequence[Recorded]) -> None:
        """Take out of the rows that are not live what was erased, however far they are."""
        for row in generations(connection):
            if row.state == "live":
                continue
            if is_current(connection, self._projection, row, self._code):
                with transaction(connection):
                    Applier(
                        connection, self._projection, row.generation, bodies=lambda _: {}
                    ).apply(events)
            else:
                drop_generation(connection, row)

    def _settle(self, position: int) -> None:
        """Overwrite what is owed, and tell up to where nothing is."""
        if not self._is_apart or (self._owing_since and not scrub(self._path)):
            return
        self._owing_since = 0.0
        self._state.clean(position)

    def _generation(self, connection: sqlite3.Connection) -> int:
        live = live_generations(connection).get(self._projection.name)
        if live is None:
            raise ViewsReplacedError("the rows of the projection are gone")
        return live.generation


def _check(directory: Path, projection: Projection, watch: _Watch) -> int:
    """Compare the rows with the journal when nothing else wants the processor, and tell."""
    os.nice(_NICENESS)
    _refuse_a_full_disk(directory / file_of(projection))
    began = time.perf_counter()

    def rest(position: int) -> None:
        """Rest so long that the work is a small part of the time."""
        nonlocal began
        del position
        watch.rest()
        time.sleep(min(_REST_SECONDS_MAX, (time.perf_counter() - began) * _REST_TIMES))
        began = time.perf_counter()

    with open_journal_file(directory / JOURNAL_FILE) as journal:
        found = check_one(directory, projection, journal, report=rest, watch=watch)
    watch.rest()
    if found is not None:
        sys.stdout.buffer.write(msgspec.json.encode(found))
    return 0


def _refuse_a_full_disk(views: Path) -> None:
    """See that there is room for all rows once more.

    Raises:
        ViewsFailedError: there isn't.
    """
    needed = 2 * views.stat().st_size
    free = shutil.disk_usage(views.parent).free
    if free < needed:
        raise ViewsFailedError(f"the disk has {free} bytes left, which may not hold the rows again")


def _takes_bodies(event: Recorded) -> bool:
    return isinstance(event.facts, PayloadErased | SegmentArchived)


def _end_with_the_service() -> None:
    """Leave when the service closes its end, however it ended."""
    sys.stdin.buffer.read()
    os._exit(0)


def _stopped(fault: Fault) -> int:
    sys.stdout.buffer.write(msgspec.json.encode(fault))
    sys.stdout.buffer.flush()
    return EXIT_STOPPED


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    # The thread that waits for the service must not hold up the end.
    os._exit(code)
