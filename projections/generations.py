"""Generations: the tables of a projection carry a number, and one number is live.

The table `projection` says which generation is live and how far each has got; SQL views with plain
names show the live one. So readers need to know nothing, and a rebuild grows beside what it will
replace, which is then kept until the next one, to go back to.
"""

from __future__ import annotations

import sqlite3
from hashlib import sha256
from typing import Final, Literal, TypeAlias

import msgspec

from .errors import ViewsReplacedError
from .projection import Projection
from .sqlite_writes import transaction

SCHEMA: Final = """CREATE TABLE projection (
  name        TEXT NOT NULL,
  generation  INTEGER NOT NULL,
  version     INTEGER NOT NULL,
  fingerprint TEXT NOT NULL,
  tables      TEXT NOT NULL,
  views       TEXT NOT NULL,
  state       TEXT NOT NULL CHECK (state IN ('live', 'growing', 'kept', 'leaving')),
  position    INTEGER NOT NULL,
  leaf        BLOB NOT NULL,
  PRIMARY KEY (name, generation)
) STRICT;
CREATE UNIQUE INDEX projection_live ON projection (name) WHERE state = 'live';"""
State: TypeAlias = Literal["live", "growing", "kept", "leaving"]
"""Shown to readers; being made beside it; what was live before; to be dropped."""
_DROPPED_AT_ONCE: Final = 2000
_encode = msgspec.json.Encoder().encode


class Generation(msgspec.Struct, frozen=True):
    """One generation of a projection, and how far it has got."""

    name: str
    generation: int
    version: int
    fingerprint: str
    """What tells the code that made its rows, "" for a built-in projection."""
    tables: str
    """The names of its tables, space-separated."""
    views: str
    """The names of its SQL views, space-separated."""
    state: State
    position: int
    """The newest position that the rows include."""
    leaf: bytes
    """The leaf hash of the entry there: tells another history of the same journal."""

    def table_names(self) -> list[str]:
        """Return the names of the tables in the file."""
        return [f"{table}_{self.generation}" for table in self.tables.split()]


_ROWS: Final = (
    "SELECT name, generation, version, fingerprint, tables, views, state, position, leaf "
    "FROM projection"
)


def generations(connection: sqlite3.Connection) -> list[Generation]:
    """Read all generations."""
    return [Generation(*row) for row in connection.execute(f"{_ROWS} ORDER BY name, generation")]


def live_generations(connection: sqlite3.Connection) -> dict[str, Generation]:
    """Read the live generation of each projection."""
    return {row[0]: Generation(*row) for row in connection.execute(f"{_ROWS} WHERE state = 'live'")}


def move(
    connection: sqlite3.Connection,
    row: Generation,
    position: int,
    leaf: bytes,
    *,
    after: int | None = None,
) -> None:
    """Note how far a generation has got, in the transaction of its rows.

    Raises:
        ViewsReplacedError: it is not where it was left, `after`: another process is at work on it,
            and to write these rows too would apply events twice.
    """
    moved = connection.execute(
        "UPDATE projection SET position = ?1, leaf = ?2 WHERE name = ?3 AND generation = ?4 "
        "AND position = coalesce(?5, position)",
        (position, leaf, row.name, row.generation, after),
    )
    if not moved.rowcount:
        raise ViewsReplacedError(f"another process wrote to the rows of projection {row.name}")


def create_generation(
    connection: sqlite3.Connection,
    projection: Projection,
    *,
    state: Literal["live", "growing"],
    fingerprint: str = "",
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
        fingerprint,
        " ".join(table.name for table in projection.tables),
        " ".join(view.name for view in projection.views),
        state,
        0,
        b"",
    )
    for table in projection.tables:
        # Nobody knows of such a table; a hand in the file may have left it.
        connection.execute(f"DROP TABLE IF EXISTS {table.name}_{number}")
        for statement in table.statements(number):
            connection.execute(statement)
    connection.execute(
        "INSERT INTO projection (name, generation, version, fingerprint, tables, views, state, "
        "position, leaf) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        msgspec.structs.astuple(row),
    )
    if state == "live":
        _show(connection, projection, row)
    return row


def go_live(connection: sqlite3.Connection, projection: Projection, new: Generation) -> None:
    """Let the plain names show another generation, inside a transaction; see `retire`."""
    retire(connection, new.name, but=new.generation)
    mark(connection, new, "live")
    _show(connection, projection, new)


def retire(connection: sqlite3.Connection, name: str, *, but: int = 0) -> None:
    """Keep what is live, and give up what was kept until then, inside a transaction."""
    for row in generations(connection):
        if row.name == name and row.generation != but and row.state in ("live", "kept"):
            if row.state == "live":
                hide(connection, row)
            mark(connection, row, "kept" if row.state == "live" else "leaving")


def mark(connection: sqlite3.Connection, row: Generation, state: State) -> None:
    """Note what has become of a generation, inside a transaction."""
    connection.execute(
        "UPDATE projection SET state = ? WHERE name = ? AND generation = ?",
        (state, row.name, row.generation),
    )


def hide(connection: sqlite3.Connection, row: Generation) -> None:
    """Drop the plain names under which a generation is shown."""
    for name in (*row.views.split(), *row.tables.split()):
        connection.execute(f"DROP VIEW IF EXISTS {name}")


def _show(connection: sqlite3.Connection, projection: Projection, row: Generation) -> None:
    hide(connection, row)
    for table in projection.tables:
        connection.execute(
            f"CREATE VIEW {table.name} AS SELECT * FROM {table.name}_{row.generation}"
        )
    for view in projection.views:
        connection.execute(f"CREATE VIEW {view.name} AS {view.select}")


def give_up(connection: sqlite3.Connection, row: Generation) -> None:
    """Note that a generation is to be dropped, inside a transaction; no name shows it any more."""
    if row.state == "live":
        hide(connection, row)
    mark(connection, row, "leaving")


def drop_generation(connection: sqlite3.Connection, row: Generation) -> None:
    """Drop the tables of a generation and forget it, in many transactions."""
    if row.state != "leaving":
        with transaction(connection):
            give_up(connection, row)
    while drop_some(connection, row):
        pass


def drop_some(connection: sqlite3.Connection, row: Generation) -> bool:
    """Drop a piece of a generation that was given up; False once nothing of it is left.

    To drop a large table at once would hold up the live projector for seconds. Each piece is a
    transaction that looks first, so that several processes may be at it: the number of a
    generation that is gone may be another one's by then.
    """
    with transaction(connection):
        if not connection.execute(
            "SELECT 1 FROM projection WHERE name = ? AND generation = ? AND state = 'leaving'",
            (row.name, row.generation),
        ).fetchone():
            return False
        for name in row.table_names():
            if _drop_some_of(connection, name):
                return True
        connection.execute(
            "DELETE FROM projection WHERE name = ? AND generation = ?", (row.name, row.generation)
        )
        return False


def _drop_some_of(connection: sqlite3.Connection, name: str) -> bool:
    """Drop an index, some rows, or what is left of a table; False if there is no such table."""
    made = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    if made is None:
        return False
    index = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL",
        (name,),
    ).fetchone()
    if index is not None:
        connection.execute(f"DROP INDEX {index[0]}")
        return True
    some = f"SELECT rowid FROM {name} LIMIT {_DROPPED_AT_ONCE}"
    # To take rows out of a full-text index costs more than to drop it.
    is_virtual = str(made[0]).startswith("CREATE VIRTUAL")
    if is_virtual or not connection.execute(f"DELETE FROM {name} WHERE rowid IN ({some})").rowcount:
        connection.execute(f"DROP TABLE {name}")
    return True


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


def is_current(
    connection: sqlite3.Connection, projection: Projection, row: Generation, fingerprint: str = ""
) -> bool:
    """Tell whether a generation is of this projection: version, code, and tables to the letter."""
    return (
        row.version == projection.version
        and row.fingerprint == fingerprint
        and is_whole(connection, projection, row)
    )


def is_whole(connection: sqlite3.Connection, projection: Projection, row: Generation) -> bool:
    """See that the tables are those of the projection, and shown if they are live."""
    for table in projection.tables:
        found = {
            text
            for (text,) in connection.execute(
                "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND sql IS NOT NULL",
                (f"{table.name}_{row.generation}",),
            )
        }
        if found != set(table.statements(row.generation)):
            return False
    if row.state != "live":
        return True
    shown = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'view'"))
    return all(table.name in shown for table in projection.tables) and all(
        shown.get(view.name) == f"CREATE VIEW {view.name} AS {view.select}"
        for view in projection.views
    )
