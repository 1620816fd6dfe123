"""The projector: one thread that keeps the live generations at the journal's head.

It reads the journal's own file from its checkpoint on, and is then fed the committed events in
memory. What waits is applied in one transaction together with the checkpoint. When the feed has a
hole, because the queue was full or a group was missed, it goes back to reading the file; a hole in
the file stops it for good, and nothing is skipped.

A projection that can't take an event stops right before it, and it alone (`lanes.py`). A file that
is damaged, deleted or replaced while it is in use is made anew; what the disk refuses, and pages of
the journal that it does not give, are asked for again.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from ..journal.envelope import Recorded
from ..journal.errors import CorruptStoreError, JournalError, StoreFailedError
from .errors import (
    FoldTooSlowError,
    GapError,
    ProjectionError,
    ViewsBusyError,
    ViewsReplacedError,
)
from .faults import told
from .fold_limit import BUILT_IN_SECONDS, FoldLimit
from .generations import live_generations
from .journal_file import open_journal_file
from .lanes import Lanes, NotTakenError
from .projection import Projection
from .sqlite_errors import is_absent, is_damage, is_passing
from .sqlite_writes import transaction
from .status import ProjectionStatus
from .views_file import OpenedFile, close_cleanly, connect, prepare, rebuild_lock, remove

QUEUED_MAX: Final = 10_000
"""How many events may wait in memory; with more, the projector reads the file instead."""
PAGE: Final = 2000
"""How many events one transaction takes while catching up."""
RETRY_SECONDS: Final = 1.0
LINGER_SECONDS: Final = 0.02
"""How long events that nobody waits for are gathered: a larger transaction costs less an event."""
_UNREADABLE: Final = (CorruptStoreError, StoreFailedError)
"""How the journal's file says that the disk does not give its bytes."""
_log = logging.getLogger("refold.projections")


class Projector:
    """Applies the journal to the views, in order and without holes."""

    def __init__(
        self,
        views_path: Path,
        journal_path: Path,
        projections: Sequence[Projection],
        moved: Callable[[], None],
        *,
        others: Sequence[str] = (),
        queued_max: int = QUEUED_MAX,
    ) -> None:
        """`moved` is called on the projector's thread after each step and when it stops.

        `others` names the projections that are in the file too and are none of its business.
        """
        self._views_path = views_path
        self._journal_path = journal_path
        self._projections = projections
        self._others = others
        self._moved = moved
        self._queued_max = queued_max
        self._wake = threading.Condition()
        self._waiting: list[Recorded] = []
        self._must_read = True
        self._is_urgent = False
        self._is_stopping = False
        self._retries: set[str] = set()
        self._found_damage: BaseException | None = None
        self._limit = FoldLimit(BUILT_IN_SECONDS)
        self._lanes = Lanes(projections, self._limit)
        self._trouble = ""
        self.incarnation = 0
        """Counted up when the file was made anew under its readers, who must open it again."""
        self.is_halted = False
        """True once it has stopped for good, which only a restart ends."""
        self.is_fed = False
        """True while it keeps up with the feed; False while it reads the file."""
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)

    @property
    def position(self) -> int:
        """The newest position that every live generation includes, but those left out."""
        return self._lanes.position

    @property
    def fault(self) -> str:
        """Why the projector, or a projection, stands still; "" while all work."""
        return self._trouble or self._lanes.fault

    @property
    def trouble(self) -> str:
        """Why all projections stand still, "" while they don't."""
        return self._trouble

    def left_out(self, name: str) -> str:
        """Return why a projection's rows are older than `position`, "" if they aren't."""
        return self._lanes.left_out(name)

    def status(self) -> list[ProjectionStatus]:
        """Tell how each projection stands; may be called on any thread, and never waits."""
        return self._lanes.status(self._trouble, is_fed=self.is_fed, is_halted=self.is_halted)

    def start(self) -> None:
        """Begin to catch up."""
        self._thread.start()

    def offer(self, events: Sequence[Recorded]) -> None:
        """Take committed events, in order; never waits."""
        with self._wake:
            if self._must_read:
                # The file is about to be read, and holds these too.
                return
            was_empty = not self._waiting
            if len(self._waiting) + len(events) > self._queued_max:
                self._waiting.clear()
                self._must_read = True
            else:
                self._waiting.extend(events)
            # While it gathers, the thread is woken for a full page only.
            if was_empty or self._must_read or len(self._waiting) >= PAGE:
                self._wake.notify()

    def hurry(self) -> None:
        """Apply what waits at once, because somebody wants to read it."""
        with self._wake:
            self._is_urgent = True
            self._wake.notify()

    def look(self, incarnation: int, error: BaseException | None) -> None:
        """Look at the file, because a reader of this incarnation of it met an error."""
        with self._wake:
            if incarnation == self.incarnation:
                self._must_read = True
                if error is not None and is_damage(error):
                    # The pages that this thread remembers may be whole.
                    self._found_damage = error
                self._wake.notify()

    def retry(self, name: str) -> None:
        """Try again the event that a projection stopped at."""
        with self._wake:
            self._retries.add(name)
            self._wake.notify()

    def stop(self) -> None:
        """End the thread after the step that it is in. Blocks until it has ended."""
        with self._wake:
            self._is_stopping = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        self._limit.start()
        try:
            self._work()
        finally:
            self._limit.stop()

    def _work(self) -> None:
        while not self._is_stopping:
            try:
                with closing(connect(self._views_path)) as connection:
                    self._lanes.open(connection, OpenedFile(self._views_path))
                    self._follow(connection)
                    close_cleanly(connection)
            except (ViewsReplacedError, sqlite3.Error) as error:
                if isinstance(error, ViewsReplacedError) or is_damage(error) or is_absent(error):
                    self._make_anew(error)
                elif is_passing(error):
                    self._pause(f"{self._views_path} can't be opened: {error}")
                else:
                    self._halt(told(error))
                    return
            except FoldTooSlowError:
                # It came a moment after the fold had returned after all: begin where the rows are.
                self._lanes.forget()
                self._must_read = True
            except Exception as error:
                known = isinstance(error, ProjectionError | JournalError)
                self._halt(str(error) if known else told(error))
                return

    def _halt(self, fault: str) -> None:
        _log.critical(
            "the projector stopped at position %d, and lists stay there: %s", self.position, fault
        )
        with self._wake:
            self._waiting.clear()
            self._must_read = True
        self._trouble = fault
        self.is_halted = True
        self._moved()

    def _make_anew(self, error: Exception) -> None:
        """Make the file again after it was lost; lists wait until the journal is read again."""
        reason = told(error)
        self._trouble = f"{self._views_path} is made anew: {reason}"
        _log.critical("%s", self._trouble)
        self._lanes.forget()
        if is_damage(error):
            remove(self._views_path)
        while not self._is_stopping:
            try:
                with (
                    open_journal_file(self._journal_path) as journal,
                    rebuild_lock(self._views_path.parent),
                ):
                    prepare(self._views_path, self._projections, journal, self._others)
                break
            except (ViewsBusyError, *_UNREADABLE, sqlite3.Error, OSError) as again:
                self._trouble = f"{self._views_path} can't be made anew: {told(again)}"
                self._rest()
        with self._wake:
            self.incarnation += 1
            self._found_damage = None
            self._waiting.clear()
            self._must_read = True

    def _follow(self, connection: sqlite3.Connection) -> None:
        while not self._is_stopping:
            with self._wake:
                if not self._lanes.behind:
                    self._wake.wait_for(self._has_work)
                    self._wake.wait_for(self._is_worth_it, LINGER_SECONDS)
                events, self._waiting = self._waiting, []
                must_read, self._must_read = self._must_read, False
                retries, self._retries = self._retries, set()
                self._is_urgent = False
                if self._found_damage is not None:
                    raise self._found_damage
            self._lanes.retry(retries)
            try:
                if must_read or not self._apply(connection, events):
                    self._read(connection)
                if self._lanes.behind:
                    self._help(connection)
            except sqlite3.OperationalError as error:
                if is_damage(error) or not is_passing(error):
                    raise
                self._pause(f"{self._views_path} can't be written: {error}")
            except _UNREADABLE as error:
                # A page that can't be read now is no hole: the file is asked again.
                self._pause(str(error))

    def _has_work(self) -> bool:
        return bool(self._waiting) or self._must_read or self._is_stopping or bool(self._retries)

    def _is_worth_it(self) -> bool:
        return (
            self._is_urgent
            or self._must_read
            or self._is_stopping
            or bool(self._retries)
            or len(self._waiting) >= PAGE
        )

    def _pause(self, reason: str) -> None:
        """Rest a little after a failure of the disk, or a lock held too long, then read on."""
        if not self._trouble:
            _log.error("the projector waits at position %d: %s", self.position, reason)
        self._trouble = reason
        with self._wake:
            self._waiting.clear()
            self._must_read = True
        self._rest()

    def _rest(self) -> None:
        with self._wake:
            self._wake.wait_for(lambda: self._is_stopping, RETRY_SECONDS)

    def _read(self, connection: sqlite3.Connection) -> None:
        """Apply what the journal's file holds beyond the checkpoint, page by page."""
        self.is_fed = False
        self._apply(connection, ())
        with open_journal_file(self._journal_path) as journal:
            while not self._is_stopping:
                page = journal.page(self.position, PAGE)
                if not page:
                    self.is_fed = True
                    return
                if not self._apply(connection, page):
                    raise GapError(self.position + 1, page[0].position)

    def _apply(self, connection: sqlite3.Connection, events: Sequence[Recorded]) -> bool:
        """Apply events in one transaction; False if a hole before or in them forbids it."""
        if events and events[-1].position - events[0].position + 1 != len(events):
            return False
        try:
            is_whole = self._transact(connection, events, safely=False)
        except NotTakenError:
            # Which event of which projection it is comes out with savepoints, for which SQLite
            # copies every page before it is changed.
            is_whole = self._transact(connection, events, safely=True)
        self._trouble = ""
        self._lanes.commit()
        self._moved()
        return is_whole

    def _transact(
        self, connection: sqlite3.Connection, events: Sequence[Recorded], *, safely: bool
    ) -> bool:
        with transaction(connection):
            return self._lanes.apply(live_generations(connection), events, safely=safely)

    def _help(self, connection: sqlite3.Connection) -> None:
        """Bring a projection that is far behind the others one page nearer, in between."""
        name = self._lanes.behind[0]
        with open_journal_file(self._journal_path) as journal, transaction(connection):
            live = live_generations(connection)
            page = journal.page(live[name].position, PAGE) if name in live else []
            self._lanes.help(name, live, page)
        self._lanes.commit()
        self._moved()
