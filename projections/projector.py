"""The projector: one thread that keeps the live generations at the journal's head.

It reads the journal's own file from its checkpoint on, and is then fed the committed events in
memory. What waits is applied in one transaction together with the checkpoint. When the feed has a
hole, because the queue was full or a group was missed, it goes back to reading the file; a hole in
the file stops it for good, and nothing is skipped.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from ..journal.envelope import Recorded
from ..journal.errors import JournalError
from .applying import Applier
from .errors import GapError, ProjectionError, ViewsFailedError
from .generations import live_generations, move
from .journal_file import open_journal_file
from .projection import Projection
from .status import ProjectionStatus, State
from .views_file import (
    close_cleanly,
    connect,
    is_damage,
    is_passing,
    remove,
    transaction,
)

QUEUED_MAX: Final = 10_000
"""How many events may wait in memory; with more, the projector reads the file instead."""
PAGE: Final = 2000
"""How many events one transaction takes while catching up."""
RETRY_SECONDS: Final = 1.0
LINGER_SECONDS: Final = 0.02
"""How long events that nobody waits for are gathered: a larger transaction costs less an event."""
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
        queued_max: int = QUEUED_MAX,
    ) -> None:
        """`moved` is called on the projector's thread after each step and when it stops."""
        self._views_path = views_path
        self._journal_path = journal_path
        self._projections = projections
        self._moved = moved
        self._queued_max = queued_max
        self._wake = threading.Condition()
        self._waiting: list[Recorded] = []
        self._must_read = True
        self._is_urgent = False
        self._is_stopping = False
        self._appliers: dict[str, Applier] = {}
        now = time.monotonic()
        self._moves = {projection.name: (0, now) for projection in projections}
        """Where each projection stands, and since when (seconds of the monotonic clock)."""
        self._told = ""
        self.position = 0
        """The newest position that every live generation includes."""
        self.fault = ""
        """Why the projector stands still, "" while it works."""
        self.is_halted = False
        """True once it has stopped for good, which only a restart ends."""
        self.is_fed = False
        """True while it keeps up with the feed; False while it reads the file."""
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)

    def status(self) -> list[ProjectionStatus]:
        """Tell how each projection stands; may be called on any thread, and never waits."""
        now = time.monotonic()
        state: State = "live" if self.is_fed else "catching_up"
        if self.fault:
            state = "stopped" if self.is_halted else "waiting"
        error = self._told if self.fault else ""
        made: list[ProjectionStatus] = []
        for projection in self._projections:
            position, since = self._moves[projection.name]
            made.append(
                ProjectionStatus(
                    projection.name, projection.version, state, position, now - since, error
                )
            )
        return made

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

    def stop(self) -> None:
        """End the thread after the step that it is in. Blocks until it has ended."""
        with self._wake:
            self._is_stopping = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            with closing(connect(self._views_path)) as connection:
                self._follow(connection)
                close_cleanly(connection)
        except (ProjectionError, JournalError) as error:
            self._halt(str(error))
        except Exception as error:
            if is_damage(error):
                # The next start finds no file and makes it anew.
                remove(self._views_path)
                self._halt(f"{self._views_path} is damaged; a restart makes it anew: {error}")
            else:
                # A fold that raises is a mistake of its author, who needs the place.
                _log.exception("a projection failed")
                kind = type(error).__name__
                self._halt(f"{kind}: {error}", f"A fold raised {kind}; the log says where.")

    def _halt(self, fault: str, told: str = "") -> None:
        """Stop for good; `told` is what anybody may read of a fault that quotes an event."""
        _log.critical(
            "the projector stopped at position %d, and lists stay there: %s", self.position, fault
        )
        with self._wake:
            self._waiting.clear()
            self._must_read = True
        self._told = told or fault
        self.fault = fault
        self.is_halted = True
        self._moved()

    def _follow(self, connection: sqlite3.Connection) -> None:
        while not self._is_stopping:
            with self._wake:
                self._wake.wait_for(self._has_work)
                self._wake.wait_for(self._is_worth_it, LINGER_SECONDS)
                events, self._waiting = self._waiting, []
                must_read, self._must_read = self._must_read, False
                self._is_urgent = False
            try:
                if must_read or not self._apply(connection, events):
                    self._read(connection)
            except sqlite3.OperationalError as error:
                if is_damage(error) or not is_passing(error):
                    raise
                self._pause(error)

    def _has_work(self) -> bool:
        return bool(self._waiting) or self._must_read or self._is_stopping

    def _is_worth_it(self) -> bool:
        return self._is_urgent or self._must_read or self._is_stopping or len(self._waiting) >= PAGE

    def _pause(self, error: sqlite3.OperationalError) -> None:
        """Rest a little after a failure of the disk, or a lock held too long, then read on."""
        if not self.fault:
            _log.error("the projector waits at position %d: %s", self.position, error)
        self._told = self.fault = f"{self._views_path} can't be written: {error}"
        with self._wake:
            self._waiting.clear()
            self._must_read = True
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
        reached: list[int] = []
        with transaction(connection):
            live = live_generations(connection)
            for projection in self._projections:
                row = live.get(projection.name)
                if row is None or row.version != projection.version:
                    raise ViewsFailedError(
                        f"projection {projection.name} in {self._views_path} is not of version "
                        f"{projection.version} any more; restart the service"
                    )
                # A rebuilt generation may be ahead of what is fed.
                new = events[max(0, row.position + 1 - events[0].position) :] if events else ()
                if not new:
                    reached.append(row.position)
                    continue
                if new[0].position != row.position + 1:
                    return False
                self._applier(connection, projection, row.generation).apply(new)
                move(connection, row, new[-1].position, new[-1].leaf)
                reached.append(new[-1].position)
        self.fault = ""
        self.position = min(reached)
        self._note_moves(reached)
        self._moved()
        return True

    def _note_moves(self, reached: Sequence[int]) -> None:
        now = time.monotonic()
        for projection, position in zip(self._projections, reached, strict=True):
            if position != self._moves[projection.name][0]:
                self._moves[projection.name] = position, now

    def _applier(
        self, connection: sqlite3.Connection, projection: Projection, generation: int
    ) -> Applier:
        applier = self._appliers.get(projection.name)
        if applier is None or applier.generation != generation:
            applier = Applier(connection, projection, generation)
            self._appliers[projection.name] = applier
        return applier
