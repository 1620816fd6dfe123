"""Rebuilds projections beside the live ones, from the journal's file, and flips to them.

It works in the service's process or in another one, while the service runs or not: it owns nothing
but the `rebuild_lock`. Each write transaction is short, so that the live projector is not held up.
A rebuild that is killed leaves the live generation as it is; the next one drops what was begun.
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
from .applying import Applier
from .built_in import BUILT_IN
from .errors import UnknownProjectionError, ViewsFailedError
from .generations import (
    Generation,
    count_rows,
    create_generation,
    digest_of,
    drop_generation,
    generations,
    go_live,
    live_generations,
    move,
)
from .journal_file import JournalFile, open_journal_file
from .projection import Projection
from .views_file import (
    VIEWS_FILE,
    connect,
    is_usable,
    mark_in_use,
    prepare,
    rebuild_lock,
    transaction,
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
    """A projection that was rebuilt and is live."""

    name: str
    generation: int
    position: int
    """The position that rows and digest are of."""
    rows: int
    digest: str


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
    report: Report | None = None,
) -> list[Rebuilt]:
    """Make new generations of the named projections, all by default, and let them go live.

    Raises:
        UnknownProjectionError: there is no projection of a name.
        ViewsBusyError: another rebuild is at work.
        ViewsFailedError: the file can't be written, or belongs to another version.
        GapError: the journal's file has a hole.
        StoreError: the journal's file can't be read.
    """
    wanted = chosen(names, projections)
    path = directory / VIEWS_FILE
    with (
        open_journal_file(directory / JOURNAL_FILE) as journal,
        translated(path),
        rebuild_lock(directory),
    ):
        _make_ready(path, projections, wanted, journal)
        with closing(connect(path)) as connection:
            _drop_unfinished(connection, wanted)
            for row in _Build(connection, wanted, journal, report).run():
                drop_generation(connection, row)
            return [_result(connection, projection) for projection in wanted]


class _Build:
    """One pass over the journal into new generations."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        projections: Sequence[Projection],
        journal: JournalFile,
        report: Report | None,
    ) -> None:
        self._connection = connection
        self._journal = journal
        self._report = report
        self._position = 0
        self._page = _PAGE_MAX
        with transaction(connection):
            mark_in_use(connection)
            self._rows = [create_generation(connection, p, is_live=False) for p in projections]
        self._appliers = [
            Applier(connection, projection, row.generation)
            for projection, row in zip(projections, self._rows, strict=True)
        ]

    def run(self) -> list[Generation]:
        """Catch up, flip, and return the generations that were live before."""
        while True:
            page = self._journal.page(self._position, self._page)
            is_near = len(page) < min(self._page, _FLIP_MAX)
            if is_near and (replaced := self._flip(page)) is not None:
                return replaced
            if not page:
                continue
            with transaction(self._connection):
                # The wait for the lock is not counted: others wait only while it is held.
                began = time.perf_counter()
                self._apply(page)
            self._adapt(time.perf_counter() - began)
            if self._report is not None:
                self._report(self._position, max(self._position, self._journal.head()))

    def _flip(self, page: Sequence[Recorded]) -> list[Generation] | None:
        """Apply the rest and go live, in one transaction; None if too much was added meanwhile."""
        with transaction(self._connection):
            # The live projector stands still now, and the journal holds all that it has applied.
            read_to = page[-1].position if page else self._position
            rest = self._journal.page(read_to, _FLIP_MAX)
            if len(rest) >= _FLIP_MAX:
                return None
            self._apply([*page, *rest])
            live = live_generations(self._connection)
            replaced = [live[row.name] for row in self._rows]
            for old, new in zip(replaced, self._rows, strict=True):
                if old.position > self._position:
                    raise ViewsFailedError(
                        f"the views are at position {old.position} and the journal ends at "
                        f"{self._position}: restart the service, which makes the views anew"
                    )
                go_live(self._connection, old, new)
            mark_in_use(self._connection)
        return replaced

    def _apply(self, page: Sequence[Recorded]) -> None:
        if not page:
            return
        for applier, row in zip(self._appliers, self._rows, strict=True):
            applier.apply(page)
            move(self._connection, row, page[-1].position, page[-1].leaf)
        self._position = page[-1].position

    def _adapt(self, seconds: float) -> None:
        """Keep the transactions short on a slow or busy machine."""
        if seconds > WRITE_SECONDS:
            self._page = max(_PAGE_MIN, self._page // 2)
        elif seconds < WRITE_SECONDS / 2:
            self._page = min(_PAGE_MAX, self._page * 2)


def _make_ready(
    path: Path,
    projections: Sequence[Projection],
    wanted: Sequence[Projection],
    journal: JournalFile,
) -> None:
    """Make a file if there is none that can be used; one in use keeps its projections.

    A running service of another version would go on with rows that are not its own, so only a
    start replaces a version.
    """
    if not is_usable(path, journal):
        prepare(path, projections, journal)
    with closing(connect(path)) as connection:
        live = live_generations(connection)
    for projection in wanted:
        row = live.get(projection.name)
        if row is None or row.version != projection.version:
            raise ViewsFailedError(
                f"{path} holds no version {projection.version} of projection {projection.name}: "
                "start the service of this version once, which makes it"
            )


def _drop_unfinished(connection: sqlite3.Connection, projections: Sequence[Projection]) -> None:
    names = {projection.name for projection in projections}
    for row in generations(connection):
        if not row.is_live and row.name in names:
            drop_generation(connection, row)


def _result(connection: sqlite3.Connection, projection: Projection) -> Rebuilt:
    # One snapshot: the live projector moves on.
    connection.execute("BEGIN")
    try:
        row = live_generations(connection)[projection.name]
        return Rebuilt(
            row.name,
            row.generation,
            row.position,
            count_rows(connection, row),
            digest_of(connection, projection, row.generation),
        )
    finally:
        connection.execute("ROLLBACK")
