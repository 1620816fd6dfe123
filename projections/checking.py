"""Shows that the rows in use are those of the journal: folds it again, apart, and compares."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from ..journal.sqlite_file import JOURNAL_FILE
from .built_in import BUILT_IN
from .generations import digest_of, live_generations
from .journal_file import JournalFile, open_journal_file
from .projection import Projection, is_apart
from .rebuild import chosen
from .refolding import Difference, refolding
from .views_file import file_of, reader_uri, translated

_LOOKS_MAX: Final = 4
_PAUSE_SECONDS: Final = 1.0
"""Between two looks at rows that differ: an erasure reaches the journal before the rows."""


class Listed(msgspec.Struct, frozen=True):
    """A projection as its file has it."""

    name: str
    version: int
    """The version that made the rows, 0 where there are none."""
    position: int
    lag: int
    digest: str


class Checked(msgspec.Struct, frozen=True):
    """What came out of a comparison."""

    name: str
    version: int
    position: int
    """The position that both digests are of."""
    digest: str
    folded_digest: str
    generation: int = 0
    """Which rows were compared: a rebuild makes others."""
    difference: Difference | None = None
    """The first row that is not as the journal says, None if all are."""

    @property
    def is_equal(self) -> bool:
        """True if the rows are those of the journal."""
        return self.digest == self.folded_digest


def listed(
    directory: Path, names: Sequence[str] = (), *, projections: Sequence[Projection] = BUILT_IN
) -> list[Listed]:
    """Read how far each projection is and the digest of its rows, beside a service or without.

    Raises:
        UnknownProjectionError: there is no projection of a name.
        ViewsFailedError: the file can't be read.
        StoreError: the journal's file can't be read.
    """
    wanted = chosen(names, projections)
    with open_journal_file(directory / JOURNAL_FILE) as journal:
        head = journal.head()
    made: list[Listed] = []
    for projection in wanted:
        version, position, digest = _live(directory / file_of(projection), projection)
        lag = max(0, head - position)
        made.append(Listed(projection.name, version, position, lag, digest))
    return made


def check(
    directory: Path,
    names: Sequence[str] = (),
    *,
    projections: Sequence[Projection] = BUILT_IN,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[Checked]:
    """Fold the journal again into a file of its own, up to where the rows are, and compare.

    It folds everything, not a part: what a row says depends on all events before it. It changes
    nothing, and works beside a service. Those without rows are left out.

    Raises:
        UnknownProjectionError: there is no projection of a name.
        PoisonEventError: a fold can't take an event.
        ViewsFailedError: the file can't be read, or there is no room for another one.
        GapError: the journal's file has a hole.
        StoreError: the journal's file can't be read.
    """
    made: list[Checked] = []
    wanted = chosen(names, projections)
    with open_journal_file(directory / JOURNAL_FILE) as journal:
        live = [(each, _live(directory / file_of(each), each)[1]) for each in wanted]
        total, done = sum(position for _, position in live), 0
        for projection, position in live:
            found = check_one(
                directory, projection, journal, report=partial(_report, report, done, total)
            )
            done += position
            if found is not None:
                made.append(found)
    return made


def check_one(
    directory: Path,
    projection: Projection,
    journal: JournalFile,
    *,
    report: Callable[[int], None] = lambda position: None,
    watch: Callable[[int], None] | None = None,
) -> Checked | None:
    """Compare one projection, None where it has no rows of this version; raises as `check` does.

    A row counts as different only if it still is when one has looked again: who erases a body
    takes it from the journal in the commit that tells the projection, and so a moment before.
    """
    views = directory / file_of(projection)
    with refolding(directory, projection, journal, watch=watch) as refold:
        found, looks = refold.compare(views, report), 1
        while found is not None and found.difference is not None and looks < _LOOKS_MAX:
            before, looks = found.difference, looks + 1
            time.sleep(_PAUSE_SECONDS)
            found = refold.compare(views, report)
            if found is not None and found.difference == before:
                break
        if found is None:
            return None
        return Checked(
            projection.name,
            projection.version,
            found.position,
            found.digest,
            found.folded_digest,
            found.generation,
            found.difference,
        )


def _report(report: Callable[[int, int], None], before: int, total: int, position: int) -> None:
    report(before + position, max(total, before + position))


def _live(path: Path, projection: Projection) -> tuple[int, int, str]:
    """Return version, position and digest of the rows in use, of one moment."""
    if is_apart(projection) and not path.exists():
        # It was switched on just now.
        return 0, 0, ""
    with (
        translated(path),
        closing(sqlite3.connect(reader_uri(path), uri=True, isolation_level=None)) as connection,
    ):
        connection.execute("BEGIN")
        row = live_generations(connection).get(projection.name)
        if row is None:
            return 0, 0, ""
        if row.version != projection.version:
            # The tables may be others than this version's.
            return row.version, row.position, ""
        return row.version, row.position, digest_of(connection, projection, row.generation)
