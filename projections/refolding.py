"""Folds the journal once more, apart, and compares what comes out with the rows in use.

It folds everything from the first event on: what a row says depends on all that came before. The
comparison is of one moment of the live rows, row by row in the order of their keys, so that it can
name the first row that differs and not only say that one does.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from .applying import Applier
from .errors import PoisonEventError, ViewsFailedError, ViewsReplacedError
from .generations import SCHEMA, Generation, create_generation, live_generations
from .journal_file import JournalFile
from .projection import Projection, Table, reads_bodies
from .views_file import VIEWS_FILE, reader_uri, translated

_PAGE: Final = 2000
_ROW_MAX: Final = 200
_encode = msgspec.json.Encoder().encode


class Difference(msgspec.Struct, frozen=True):
    """The first row that is not as the journal says."""

    table: str
    row: str
    """The columns that order the rows, as JSON; of rows that copy bodies only the number."""
    kind: Literal["other", "extra", "missing"]
    """Its columns are others; the journal has no such row; it is not in use."""

    def __str__(self) -> str:
        said = {"other": "differs", "extra": "is not of the journal", "missing": "is missing"}
        return f"row {self.row} of {self.table} {said[self.kind]}"


class Compared(msgspec.Struct, frozen=True):
    """What came out of one comparison."""

    generation: int
    position: int
    """The position that both are of."""
    digest: str
    folded_digest: str
    difference: Difference | None


class Refold:
    """The rows of one projection, folded apart; made by `refolding`."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        projection: Projection,
        journal: JournalFile,
        watch: Callable[[int], None] | None,
    ) -> None:
        self._connection = connection
        self._projection = projection
        self._journal = journal
        self._row = create_generation(connection, projection, state="live")
        self._applier = Applier(
            connection,
            projection,
            self._row.generation,
            bodies=journal.bodies,
            watch=watch,
            # It has a file of its own, without a log that an interrupted statement could be undone
            # by; whoever watches the folds has to watch the processor time of all of it.
            holds_lock=False,
        )
        self.position = 0

    def advance(self, up_to: int, report: Callable[[int], None] = lambda position: None) -> None:
        """Fold on to a position; `report` hears how far it is after each page.

        Raises:
            PoisonEventError: a fold can't take an event.
            GapError: the journal's file has a hole.
            ViewsFailedError: the journal ends before that position.
            StoreError: the journal's file can't be read.
        """
        while self.position < up_to:
            page = self._journal.page(self.position, min(_PAGE, up_to - self.position))
            if not page:
                raise ViewsFailedError(
                    f"the rows are at position {up_to}, and the journal ends at {self.position}"
                )
            if (fault := self._applier.apply_safely(page)) is not None:
                raise PoisonEventError(
                    self._projection.name, fault.code, fault.position, fault.type, fault.message
                )
            self.position = page[-1].position
            report(self.position)

    def compare(self, views: Path, report: Callable[[int], None]) -> Compared | None:
        """Fold on to where the live rows are and compare; None if there are none of this version.

        Raises:
            ViewsReplacedError: the live rows were made anew meanwhile, and are behind.
            ViewsFailedError: the file of the views can't be read.
        """
        with (
            translated(views),
            closing(sqlite3.connect(reader_uri(views), uri=True, isolation_level=None)) as live,
        ):
            while (row := self._live(live)) and row.position - self.position > _PAGE:
                self.advance(row.position, report)
            # One snapshot for how far the live rows are and for the rows.
            live.execute("BEGIN")
            row = self._live(live)
            if row is None:
                return None
            if row.position < self.position:
                raise ViewsReplacedError(f"projection {row.name} was made anew meanwhile")
            self.advance(row.position)
            return self._compared(live, row)

    def _live(self, live: sqlite3.Connection) -> Generation | None:
        row = live_generations(live).get(self._projection.name)
        # The tables of another version may be others.
        return row if row is not None and row.version == self._projection.version else None

    def _compared(self, live: sqlite3.Connection, row: Generation) -> Compared:
        hashes = sha256(), sha256()
        found: Difference | None = None
        for table in self._projection.tables:
            for hashed in hashes:
                hashed.update(f"{table.name}\n".encode())
            pairs = zip_longest(
                _rows(live, table, row.generation),
                _rows(self._connection, table, self._row.generation),
            )
            for number, (own, other) in enumerate(pairs, 1):
                for hashed, values in zip(hashes, (own, other), strict=True):
                    if values is not None:
                        hashed.update(_encode(values) + b"\n")
                if own != other and found is None:
                    found = self._named(table, number, own, other)
        digests = [hashed.hexdigest() for hashed in hashes]
        return Compared(row.generation, row.position, digests[0], digests[1], found)

    def _named(self, table: Table, number: int, own: Any, other: Any) -> Difference:
        """Name the first row that differs, without a word of what somebody's body said."""
        keys = [_key(self._connection, table, self._row.generation, row) for row in (own, other)]
        kind: Literal["other", "extra", "missing"] = "other"
        if keys[0] != keys[1]:
            kind = "missing" if own is None or self._has(table, keys[0]) else "extra"
        key = keys[1] if kind == "missing" else keys[0]
        text = _encode(list(key.values())).decode()[:_ROW_MAX] if key else ""
        if not text or reads_bodies(self._projection):
            text = f"number {number}"
        return Difference(table.name, text, kind)

    def _has(self, table: Table, key: dict[str, Any]) -> bool:
        """Tell whether the journal has a row of this key."""
        if not key:
            return False
        wanted = " AND ".join(f'"{column}" IS ?' for column in key)
        statement = f"SELECT 1 FROM {table.name}_{self._row.generation} WHERE {wanted}"
        return self._connection.execute(statement, list(key.values())).fetchone() is not None


@contextmanager
def refolding(
    directory: Path,
    projection: Projection,
    journal: JournalFile,
    *,
    watch: Callable[[int], None] | None = None,
) -> Generator[Refold]:
    """Fold into a file of its own beside the data; nothing of it stays, however this ends.

    `watch` hears of each position before it is folded.
    """
    with translated(directory), closing(_unnamed(directory)) as connection:
        connection.execute("PRAGMA journal_mode = off")
        connection.execute("PRAGMA synchronous = off")
        connection.executescript(SCHEMA)
        connection.execute("BEGIN")
        yield Refold(connection, projection, journal, watch)


def _unnamed(directory: Path) -> sqlite3.Connection:
    """Open a database that is gone with its connection, even where the process is killed.

    It is on the disk of the data: it grows as large as the rows, which memory may not hold.
    """
    with tempfile.TemporaryDirectory(prefix="views.check.", dir=directory) as apart:
        connection = sqlite3.connect(Path(apart) / VIEWS_FILE, isolation_level=None)
        # The file is opened by the first statement, and outlives its name then.
        connection.execute("PRAGMA user_version = 1")
    return connection


def _rows(
    connection: sqlite3.Connection, table: Table, generation: int
) -> Iterator[tuple[Any, ...]]:
    return connection.execute(f"SELECT * FROM {table.name}_{generation} ORDER BY {table.key}")


def _key(
    connection: sqlite3.Connection, table: Table, generation: int, row: Sequence[Any] | None
) -> dict[str, Any]:
    """Return what orders a row, empty where the order is not that of columns."""
    columns = connection.execute(f"SELECT * FROM {table.name}_{generation} LIMIT 0").description
    names = [column[0] for column in columns]
    wanted = [part.split()[0] if part.split() else "" for part in table.key.split(",")]
    if row is None or not set(wanted) <= set(names):
        return {}
    return {name: row[names.index(name)] for name in wanted}
