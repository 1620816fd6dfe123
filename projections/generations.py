"""Generations: the tables of a projection carry a number, and one number is live.

The table `projection` says which generation is live and how far each has got; SQL views with plain
names show the live one. So readers need to know nothing, and a rebuild grows beside what it will
replace.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

import msgspec

from .projection import Projection, Table

SCHEMA: Final = """CREATE TABLE projection (
  name       TEXT NOT NULL,
  generation INTEGER NOT NULL,
  version    INTEGER NOT NULL,
  tables     TEXT NOT NULL,
  is_live    INTEGER NOT NULL,
  position   INTEGER NOT NULL,
  leaf       BLOB NOT NULL,
  PRIMARY KEY (name, generation)
) STRICT;"""
_DROPPED_AT_ONCE: Final = 2000
_encode = msgspec.json.Encoder().encode


class Generation(msgspec.Struct, frozen=True):
    """One generation of a projection, and how far it has got."""

    name: str
    generation: int
    version: int
    tables: str
    """The names of its tables, space-separated."""
    is_live: int
    position: int
    """The newest position that the rows include."""
    leaf: bytes
    """The leaf hash of the entry there: tells another history of the same journal."""

    def table_names(self) -> list[str]:
        """Return the names of the tables in the file."""
        return [f"{table}_{self.generation}" for table in self.tables.split()]


_ROWS: Final = "SELECT name, generation, version, tables, is_live, position, leaf FROM projection"


def generations(connection: sqlite3.Connection) -> list[Generation]:
    """Read all generations."""
    return [Generation(*row) for row in connection.execute(f"{_ROWS} ORDER BY name, generation")]


def live_generations(connection: sqlite3.Connection) -> dict[str, Generation]:
    """Read the live generation of each projection."""
    return {row[0]: Generation(*row) for row in connection.execute(f"{_ROWS} WHERE is_live = 1")}


def move(connection: sqlite3.Connection, row: Generation, position: int, leaf: bytes) -> None:
    """Note how far a generation has got, in the transaction of its rows."""
    connection.execute(
        "UPDATE projection SET position = ?, leaf = ? WHERE name = ? AND generation = ?",
        (position, leaf, row.name, row.generation),
    )


def create_generation(
    connection: sqlite3.Connection, projection: Projection, *, is_live: bool
) -> Generation:
    """Make the empty tables of a projection's next generation, inside a transaction."""
    number = connection.execute(
        "SELECT coalesce(max(generation), 0) + 1 FROM projection WHERE name = ?",
        (projection.name,),
    ).fetchone()[0]
    row = Generation(
        projection.name,
        number,
        projection.version,
        " ".join(table.name for table in projection.tables),
        int(is_live),
        0,
        b"",
    )
    for table in projection.tables:
        # Nobody knows of such a table; a hand in the file may have left it.
        connection.execute(f"DROP TABLE IF EXISTS {table.name}_{number}")
        for statement in table.statements(number):
            connection.execute(statement)
    connection.execute(
        "INSERT INTO projection (name, generation, version, tables, is_live, position, leaf) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        msgspec.structs.astuple(row),
    )
    if is_live:
        _show(connection, row)
    return row


def go_live(connection: sqlite3.Connection, old: Generation, new: Generation) -> None:
    """Let the plain names show another generation, inside a transaction."""
    for row, is_live in ((old, 0), (new, 1)):
        connection.execute(
            "UPDATE projection SET is_live = ? WHERE name = ? AND generation = ?",
            (is_live, row.name, row.generation),
        )
    _show(connection, new)


def _show(connection: sqlite3.Connection, row: Generation) -> None:
    for table in row.tables.split():
        connection.execute(f"DROP VIEW IF EXISTS {table}")
        connection.execute(f"CREATE VIEW {table} AS SELECT * FROM {table}_{row.generation}")


def drop_generation(connection: sqlite3.Connection, row: Generation) -> None:
    """Drop the tables of a generation and forget it, in many transactions.

    To drop a large table at once would hold up the live projector for seconds.
    """
    for name in row.table_names():
        for (index,) in connection.execute(
            "SELECT name FROM sqlite_master "
            "WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL",
            (name,),
        ).fetchall():
            connection.execute(f"DROP INDEX {index}")
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone():
            some = f"SELECT rowid FROM {name} LIMIT {_DROPPED_AT_ONCE}"
            while connection.execute(f"DELETE FROM {name} WHERE rowid IN ({some})").rowcount:
                pass
            connection.execute(f"DROP TABLE {name}")
    connection.execute(
        "DELETE FROM projection WHERE name = ? AND generation = ?", (row.name, row.generation)
    )


def digest_of(connection: sqlite3.Connection, projection: Projection, generation: int) -> str:
    """Hash the rows of a generation: equal rows give equal digests, whatever their generation."""
    hashed = sha256()
    for table in projection.tables:
        hashed.update(f"{table.name}\n".encode())
        for row in connection.execute(
            f"SELECT * FROM {table.name}_{generation} ORDER BY {table.key}"
        ):
            hashed.update(_encode(row) + b"\n")
    return hashed.hexdigest()


def count_rows(connection: sqlite3.Connection, row: Generation) -> int:
    """Count the rows of a generation's tables."""
    return sum(
        connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
        for name in row.table_names()
    )


def is_current(connection: sqlite3.Connection, projection: Projection, row: Generation) -> bool:
    """Tell whether a generation has the version and exactly the tables of a projection."""
    return row.version == projection.version and _is_whole(
        connection, projection.tables, row.generation
    )


def _is_whole(connection: sqlite3.Connection, tables: Iterable[Table], generation: int) -> bool:
    """See that the tables are those of the projection, to the letter."""
    for table in tables:
        found = {
            row[0]
            for row in connection.execute(
                "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND sql IS NOT NULL",
                (f"{table.name}_{generation}",),
            )
        }
        if found != set(table.statements(generation)):
            return False
        if not connection.execute(
            "SELECT 1 FROM sqlite_master WHERE type = 'view' AND name = ?", (table.name,)
        ).fetchone():
            return False
    return True
