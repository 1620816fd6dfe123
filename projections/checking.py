"""Shows that the rows in use are those of the journal: folds it again, apart, and compares."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import msgspec

from ..journal.sqlite_file import JOURNAL_FILE
from .applying import Applier
from .built_in import BUILT_IN
from .errors import PoisonEventError
from .generations import SCHEMA, create_generation, digest_of, live_generations
from .journal_file import JournalFile, open_journal_file
from .projection import Projection
from .rebuild import chosen
from .views_file import VIEWS_FILE, reader_uri, translated

_PAGE = 2000


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
        version, position, digest = _live(directory / VIEWS_FILE, projection)
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
        live = [(each, *_live(directory / VIEWS_FILE, each)) for each in wanted]
        total = sum(position for _, _, position, _ in live)
        done = 0
        for projection, version, position, digest in live:
            if not digest:
                continue
            progress = partial(_report, report, done, total)
            folded = _fold_again(directory, projection, position, journal, progress)
            done += position
            made.append(Checked(projection.name, version, position, digest, folded))
    return made


def _report(report: Callable[[int, int], None], before: int, total: int, position: int) -> None:
    report(before + position, total)


def _live(path: Path, projection: Projection) -> tuple[int, int, str]:
    """Return version, position and digest of the rows in use, of one moment."""
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


def _fold_again(
    directory: Path,
    projection: Projection,
    up_to: int,
    journal: JournalFile,
    report: Callable[[int], None],
) -> str:
    # On the disk of the data: it is as large as the rows, which memory may not hold.
    with (
        tempfile.TemporaryDirectory(prefix="views.check.", dir=directory) as apart,
        translated(directory),
        closing(sqlite3.connect(Path(apart) / VIEWS_FILE, isolation_level=None)) as connection,
    ):
        connection.execute("PRAGMA journal_mode = off")
        connection.execute("PRAGMA synchronous = off")
        connection.executescript(SCHEMA)
        connection.execute("BEGIN")
        row = create_generation(connection, projection, state="live")
        applier = Applier(connection, projection, row.generation, bodies=journal.bodies)
        position = 0
        while position < up_to:
            page = journal.page(position, min(_PAGE, up_to - position))
            if not page:
                break
            if (fault := applier.apply_safely(page)) is not None:
                raise PoisonEventError(
                    projection.name, fault.code, fault.position, fault.type, fault.message
                )
            position = page[-1].position
            report(position)
        return digest_of(connection, projection, row.generation)
