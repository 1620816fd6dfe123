"""OCEL 2.0 as an SQLite file: written in one pass, and dumped by ocel_json.py for the other form.

No event and no object is kept in memory: what is known already, the file says.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from ...journal import events as e
from ..errors import ExportFailedError
from .ocel import OBJECT_TYPES, Change, Event, Mapper, Relation, event_attributes
from .plan import Report
from .source import Source
from .values import Value

BEGINNING: Final = "1970-01-01T00:00:00Z"
"""The time that the standard gives to what an object has from its beginning."""
COLUMN_TYPES: Final = {"string": "TEXT", "integer": "INTEGER", "time": "TIMESTAMP"}

_TABLES: Final = """
CREATE TABLE "event_map_type" ("ocel_type" TEXT PRIMARY KEY, "ocel_type_map" TEXT);
CREATE TABLE "object_map_type" ("ocel_type" TEXT PRIMARY KEY, "ocel_type_map" TEXT);
CREATE TABLE "event" ("ocel_id" TEXT, "ocel_type" TEXT);
CREATE TABLE "object" ("ocel_id" TEXT PRIMARY KEY, "ocel_type" TEXT);
CREATE TABLE "event_object" (
  "ocel_event_id" TEXT, "ocel_object_id" TEXT, "ocel_qualifier" TEXT
);
CREATE TABLE "object_object" (
  "ocel_source_id" TEXT, "ocel_target_id" TEXT, "ocel_qualifier" TEXT,
  PRIMARY KEY ("ocel_source_id", "ocel_target_id", "ocel_qualifier")
);
"""
_INDEXES: Final = """
CREATE INDEX "event_by_id" ON "event" ("ocel_id");
CREATE INDEX "event_object_by_event" ON "event_object" ("ocel_event_id");
CREATE INDEX "event_object_by_object" ON "event_object" ("ocel_object_id");
"""
# Nobody reads the file before it is complete and has its name, so nothing of it needs a log.
_PRAGMAS: Final = (
    "journal_mode = OFF",
    "synchronous = OFF",
    "cache_size = -24000",
    "locking_mode = EXCLUSIVE",
    "temp_store = FILE",
)
_COMMIT_EVENTS: Final = 20_000
_RECENT_MAX: Final = 20_000
"""How many objects are remembered as known: most events are about those of the events before."""


def table_of(type_: str) -> str:
    """Return the part of a table's name that stands for a type."""
    return type_.replace(".", "_")


def write(source: Source, part: Path, report: Report | None) -> int:
    """Write the selected events into an empty file, and return how many there were.

    Raises:
        ExportFailedError: the disk refuses.
    """
    total, events = source.entries_total(), 0
    mapper = Mapper(source.requested)
    with opened(part) as connection:
        _create(connection)
        writer = _Writer(connection)
        connection.execute("BEGIN")
        for entry in source.entries():
            writer.add(mapper.map(entry))
            events += 1
            if events % _COMMIT_EVENTS == 0:
                connection.execute("COMMIT")
                connection.execute("BEGIN")
            if report is not None:
                report(events, total)
        _complete(connection)
        connection.execute("COMMIT")
        connection.executescript(_INDEXES)
    return events


@contextmanager
def opened(file: Path) -> Generator[sqlite3.Connection]:
    """Open a file that nobody else knows of."""
    try:
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
            yield connection
    except sqlite3.Error as error:
        raise ExportFailedError(f"{file} can't be written: {error}") from error


class _Writer:
    """Puts events into the tables."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute
        self._many = connection.executemany
        self._recent: dict[str, None] = {}
        self._columns = {
            facts.type: [name for name, _ in event_attributes(facts)] for facts in e.CATALOGUE
        }
        self._events = {
            type_: _insert(f"event_{table_of(type_)}", 2 + len(columns))
            for type_, columns in self._columns.items()
        }
        self._objects = {
            type_: _insert(f"object_{table_of(type_)}", 3 + len(attributes))
            for type_, attributes in OBJECT_TYPES.items()
        }

    def add(self, event: Event) -> None:
        """Add an event, and what it says of objects."""
        self._execute('INSERT INTO "event" VALUES (?, ?)', (event.id, event.type))
        row: list[Value | None] = [event.id, event.time]
        row += [event.attributes.get(name) for name in self._columns[event.type]]
        self._execute(self._events[event.type], row)
        for relation in event.relations:
            self._know(relation)
        self._many(
            'INSERT INTO "event_object" VALUES (?, ?, ?)',
            [(event.id, relation.id, relation.qualifier) for relation in event.relations],
        )
        self._many(
            'INSERT OR IGNORE INTO "object_object" VALUES (?, ?, ?)',
            [(link.source, link.target, link.qualifier) for link in event.links],
        )
        for change in event.changes:
            self._change(event.time, change)

    def _know(self, relation: Relation) -> None:
        """Add an object that is new, or of which only the id was known."""
        if relation.id in self._recent:
            return
        made = self._execute(
            'INSERT OR IGNORE INTO "object" VALUES (?, ?)', (relation.id, relation.type)
        )
        attributes = OBJECT_TYPES[relation.type]
        if relation.attributes:
            table = f"object_{table_of(relation.type)}"
            if made.rowcount or not self._has_beginning(table, relation.id):
                known = dict(relation.attributes)
                values = [known.get(name) for name, _ in attributes]
                row = [relation.id, BEGINNING, None, *values]
                self._execute(self._objects[relation.type], row)
        elif attributes:
            # What it had from its beginning may still be told by another event.
            return
        self._recent[relation.id] = None
        if len(self._recent) > _RECENT_MAX:
            del self._recent[next(iter(self._recent))]

    def _has_beginning(self, table: str, id_: str) -> bool:
        statement = f'SELECT 1 FROM "{table}" WHERE ocel_id = ? AND ocel_changed_field IS NULL'
        return self._execute(statement, (id_,)).fetchone() is not None

    def _change(self, time: str, change: Change) -> None:
        values = [
            change.value if name == change.name else None for name, _ in OBJECT_TYPES[change.type]
        ]
        self._execute(self._objects[change.type], [change.id, time, change.name, *values])


def _create(connection: sqlite3.Connection) -> None:
    connection.executescript(_TABLES)
    for facts in e.CATALOGUE:
        _add_type(connection, "event", facts.type, '"ocel_time" TIMESTAMP', event_attributes(facts))
    times = '"ocel_time" TIMESTAMP, "ocel_changed_field" TEXT'
    for type_, attributes in OBJECT_TYPES.items():
        _add_type(connection, "object", type_, times, attributes)
        name = f"object_{table_of(type_)}"
        connection.execute(f'CREATE INDEX "{name}_by_id" ON "{name}" ("ocel_id")')


def _complete(connection: sqlite3.Connection) -> None:
    """Give a row to each object of which nothing is known: readers find objects by their rows."""
    for type_, attributes in OBJECT_TYPES.items():
        table = f"object_{table_of(type_)}"
        nothing = "NULL, " * len(attributes) + "NULL"
        connection.execute(
            f'INSERT INTO "{table}" SELECT "ocel_id", ?, {nothing} FROM "object" '
            f'WHERE "ocel_type" = ? AND NOT EXISTS (SELECT 1 FROM "{table}" '
            f'WHERE "{table}"."ocel_id" = "object"."ocel_id") ORDER BY "object".rowid',
            (BEGINNING, type_),
        )


def _add_type(
    connection: sqlite3.Connection,
    kind: str,
    type_: str,
    times: str,
    attributes: Sequence[tuple[str, str]],
) -> None:
    name = table_of(type_)
    columns = "".join(f', "{column}" {COLUMN_TYPES[of]}' for column, of in attributes)
    connection.execute(f'CREATE TABLE "{kind}_{name}" ("ocel_id" TEXT, {times}{columns})')
    connection.execute(f'INSERT INTO "{kind}_map_type" VALUES (?, ?)', (type_, name))


def _insert(table: str, columns: int) -> str:
    return f'INSERT INTO "{table}" VALUES ({", ".join("?" * columns)})'
