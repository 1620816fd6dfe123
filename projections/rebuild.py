"""Rebuilds projections beside the live ones, from the journal's file, and flips to them.

It works in the service's process or in another one, while the service runs or not: it owns nothing
but the `growth_lock` of its projections. Each write transaction is short, so that the live
projector is not held up. A rebuild that is killed leaves the live generation as it is, and the next
one goes on where it ended. What was live before a flip is kept, so that one can go back to it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from ..journal.envelope import Recorded
from ..journal.sqlite_file import JOURNAL_FILE
from .applying import Applier, Changes
from .built_in import BUILT_IN
from .errors import (
    NothingKeptError,
    PoisonEventError,
    UnknownProjectionError,
    ViewsFailedError,
    ViewsReplacedError,
)
from .faults import Fault
from .fingerprint import fingerprint
from .fitting import drop_old
from .generations import (
    Generation,
    count_rows,
    create_generation,
    digest_of,
    generations,
    go_live,
    is_current,
    live_generations,
    mark,
    move,
)
from .journal_file import JournalFile, open_journal_file
from .projection import Projection, is_apart
from .sqlite_errors import is_damage, is_passing
from .sqlite_writes import transaction
from .views_file import (
    OpenedFile,
    connect,
    file_of,
    growth_lock,
    is_usable,
    mark_in_use,
    prepare,
    rebuild_lock,
    translated,
)

WRITE_SECONDS: Final = 0.02
"""How long one write transaction should take at most."""
_PAGE_MIN: Final = 250
_PAGE_MAX: Final = 2000
_FLIP_MAX: Final = 500
"""How many events the transaction that flips may still have to apply."""

Report = Callable[[int, int], None]
"""Called with the position reached and the journal's head."""


class Rebuilt(msgspec.Struct, frozen=True):
    """A projection that was rebuilt."""

    name: str
    version: int
    generation: int
    position: int
    """The position that rows and digest are of."""
    rows: int
    digest: str
    is_live: bool
    """False for another version than the running service's: its next start takes it up."""


def chosen(names: Sequence[str], projections: Sequence[Projection]) -> list[Projection]:
    """Return the projections of these names, all of them for none.

    Raises:
        UnknownProjectionError: there is none of a name.
    """
    known = {projection.name: projection for projection in projections}
    for name in names:
        if name not in known:
            raise UnknownProjectionError(name, known)
    return [projection for projection in projections if not names or projection.name in names]


def rebuild(
    directory: Path,
    names: Sequence[str] = (),
    *,
    projections: Sequence[Projection] = BUILT_IN,
    roll_back: bool = False,
    report: Report | None = None,
    watch: Callable[[int], None] | None = None,
) -> list[Rebuilt]:
    """Make new generations of the named projections, all by default, and let them go live.

    With `roll_back` the generations that were live before are brought to the journal's head
    instead. `watch` hears of each position before it is folded.

    Raises:
        UnknownProjectionError: there is no projection of a name.
        ViewsBusyError: another rebuild of the same is at work.
        ViewsFailedError: the file can't be written.
        PoisonEventError: a fold can't take an event.
        NothingKeptError: there is nothing to go back to.
        ViewsReplacedError: the file, or a generation, was changed by somebody else meanwhile.
        GapError: the journal's file has a hole.
        StoreError: the journal's file can't be read.
    """
    wanted = chosen(names, projections)
    made: list[Rebuilt] = []
    with open_journal_file(directory / JOURNAL_FILE) as journal:
        for file in dict.fromkeys(map(file_of, wanted)):
            path = directory / file
            some = [each for each in wanted if file_of(each) == file]
            with translated(path):
                if not is_usable(path, journal):
                    with rebuild_lock(directory, file):
                        prepare(path, [p for p in projections if file_of(p) == file], journal)
                made += _rebuild_in(path, some, journal, roll_back, report, watch)
    return made


def _rebuild_in(
    path: Path,
    wanted: Sequence[Projection],
    journal: JournalFile,
    roll_back: bool,
    report: Report | None,
    watch: Callable[[int], None] | None,
) -> list[Rebuilt]:
    """Rebuild projections of one file."""
    with growth_lock(path.parent, wanted), closing(connect(path)) as connection:
        for projection in wanted:
            drop_old(connection, projection)
        with transaction(connection):
            mark_in_use(connection)
            rows = [_begin(connection, projection, roll_back) for projection in wanted]
        Build(connection, path, wanted, rows, journal, report=report, watch=watch).run()
        for projection in wanted:
            drop_old(connection, projection)
        return [
            _result(connection, projection, row.generation)
            for projection, row in zip(wanted, rows, strict=True)
        ]


class Build:
    """One pass over the journal into generations that grow."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        projections: Sequence[Projection],
        rows: Sequence[Generation],
        journal: JournalFile,
        *,
        report: Report | None = None,
        watch: Callable[[int], None] | None = None,
    ) -> None:
        self._connection = connection
        self._file = OpenedFile(path)
        self._projections = projections
        self._is_apart = any(map(is_apart, projections))
        self._rows = rows
        self._journal = journal
        self._report = report
        self._positions = [row.position for row in rows]
        self.page = _PAGE_MAX
        """How many events the next step should take."""
        self._appliers = [
            Applier(connection, made, row.generation, bodies=journal.bodies, watch=watch)
            for made, row in zip(projections, rows, strict=True)
        ]

    @property
    def position(self) -> int:
        """The newest position that all these generations include."""
        return min(self._positions)

    def run(self) -> None:
        """Catch up and flip."""
        while True:
            page = self._journal.page(self.position, self.page)
            is_near = len(page) < min(self.page, _FLIP_MAX)
            if is_near and self._flip(page):
                return
            if page:
                self.step(page)
            if self._report is not None:
                self._report(self.position, max(self.position, self._journal.head()))

    def step(self, page: Sequence[Recorded]) -> None:
        """Apply a page in a transaction of its own, folded before that begins.

        In a file apart it is folded inside of it. Whoever takes out what was erased waits for the
        same lock, so no body that is erased meanwhile comes in after that.
        """
        self._file.check()
        began = time.perf_counter()
        try:
            folded = [] if self._is_apart else self._folded(page)
            with transaction(self._connection):
                # The wait for the lock is not counted: others wait only while it is held.
                began = time.perf_counter()
                folded = folded or self._folded(page)
                for applier, changes in zip(self._appliers, folded, strict=True):
                    applier.run(changes)
                self._moved_to(page[-1])
        except Exception as error:
            if is_passing(error) or is_damage(error) or isinstance(error, ViewsReplacedError):
                raise
            # Its cause is in one event, or it was a page of statements on a machine that is busy.
            self._apply_each(page)
        else:
            self._positions = [max(page[-1].position, position) for position in self._positions]
        self._adapt(time.perf_counter() - began)

    def _folded(self, page: Sequence[Recorded]) -> list[Changes]:
        return [
            applier.fold(_beyond(page, position))
            for applier, position in zip(self._appliers, self._positions, strict=True)
        ]

    def _apply_each(self, page: Sequence[Recorded]) -> None:
        """Apply what can be, one projection after the other, and name the event that can't.

        Raises:
            PoisonEventError: there is one; the rows end right before it.
        """
        found: PoisonEventError | None = None
        reached = list(self._positions)
        with transaction(self._connection):
            for index, applier in enumerate(self._appliers):
                new = _beyond(page, self._positions[index])
                fault = applier.apply_each(new)
                last = new[-1] if new else None
                if fault is not None:
                    before = [event for event in new if event.position < fault.position]
                    last = before[-1] if before else None
                    found = _poisoned(self._rows[index], fault)
                if found is not None and not self._connection.in_transaction:
                    raise found
                if last is not None:
                    row, after = self._rows[index], self._positions[index]
                    move(self._connection, row, last.position, last.leaf, after=after)
                    reached[index] = last.position
        self._positions = reached
        if found is not None:
            raise found

    def _flip(self, page: Sequence[Recorded]) -> bool:
        """Apply the rest and go live, in one transaction; False if too much was added meanwhile."""
        self._file.check()
        with transaction(self._connection):
            # The live projector stands still now, and the journal holds all that it has applied.
            read_to = page[-1].position if page else self.position
            rest = [*page, *self._journal.page(read_to, _FLIP_MAX)]
            if len(rest) >= len(page) + _FLIP_MAX:
                return False
            for index, applier in enumerate(self._appliers):
                if new := _beyond(rest, self._positions[index]):
                    fault = applier.apply_safely(new)
                    if fault is not None:
                        raise _poisoned(self._rows[index], fault)
            if rest:
                self._moved_to(rest[-1])
                self._positions = [max(rest[-1].position, p) for p in self._positions]
            live = live_generations(self._connection)
            for projection, row in zip(self._projections, self._rows, strict=True):
                old = live.get(row.name)
                if old is not None and old.position > self.position:
                    raise ViewsFailedError(
                        f"the views are at position {old.position} and the journal ends at "
                        f"{self.position}: restart the service, which makes the views anew"
                    )
                if may_flip(projection, old):
                    go_live(self._connection, projection, row)
            mark_in_use(self._connection)
        return True

    def _moved_to(self, event: Recorded) -> None:
        for row, position in zip(self._rows, self._positions, strict=True):
            if event.position > position:
                move(self._connection, row, event.position, event.leaf, after=position)

    def _adapt(self, seconds: float) -> None:
        """Keep the transactions short on a slow or busy machine."""
        if seconds > WRITE_SECONDS:
            self.page = max(_PAGE_MIN, self.page // 2)
        elif seconds < WRITE_SECONDS / 2:
            self.page = min(_PAGE_MAX, self.page * 2)


def may_flip(projection: Projection, live: Generation | None) -> bool:
    """Tell whether a generation may take over while a service runs.

    The service reads the built-in ones by statements of its own version, so another version of
    those waits for its restart.
    """
    return (
        live is None
        or live.version == projection.version
        or projection.name not in {made.name for made in BUILT_IN}
    )


def growing(connection: sqlite3.Connection, projection: Projection) -> Generation | None:
    """Return the generation that was begun and that this program can go on with."""
    code = fingerprint(projection)
    return next(
        (
            row
            for row in generations(connection)
            if row.name == projection.name
            and row.state == "growing"
            and is_current(connection, projection, row, code)
        ),
        None,
    )


def _begin(connection: sqlite3.Connection, projection: Projection, roll_back: bool) -> Generation:
    """Return the generation to bring to the journal's head."""
    if not roll_back:
        return growing(connection, projection) or create_generation(
            connection, projection, state="growing", fingerprint=fingerprint(projection)
        )
    for row in generations(connection):
        if (
            row.name == projection.name
            and row.state == "kept"
            and is_current(connection, projection, row, fingerprint(projection))
        ):
            mark(connection, row, "growing")
            return msgspec.structs.replace(row, state="growing")
    raise NothingKeptError(projection.name, projection.version)


def _poisoned(row: Generation, fault: Fault) -> PoisonEventError:
    return PoisonEventError(row.name, fault.code, fault.position, fault.type, fault.message)


def _beyond(events: Sequence[Recorded], position: int) -> Sequence[Recorded]:
    """Return the events after a position; events follow each other."""
    if not events or events[0].position > position:
        return events
    return events[position + 1 - events[0].position :]


def _result(connection: sqlite3.Connection, projection: Projection, generation: int) -> Rebuilt:
    # One snapshot: the live projector moves on.
    connection.execute("BEGIN")
    try:
        row = next(
            row
            for row in generations(connection)
            if (row.name, row.generation) == (projection.name, generation)
        )
        return Rebuilt(
            row.name,
            row.version,
            row.generation,
            row.position,
            count_rows(connection, row),
            digest_of(connection, projection, row.generation),
            row.state == "live",
        )
    finally:
        connection.execute("ROLLBACK")
