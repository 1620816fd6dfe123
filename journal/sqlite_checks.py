"""Tells whether a file is a journal of ours, and whether it is whole: what is seen at a start.

The verifier checks every entry; a start checks what a crash, a bad disk or a hand in the file
is likeliest to have touched: the file's length, its tables and triggers, its newest entries.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from .envelope import FORMAT, NO_LEAF, leaf_hash, parse_entry
from .errors import CorruptStoreError, ForeignStoreError

FILE_FORMAT: Final = 3
_TAIL: Final = 1000
"""How many of the newest entries are hashed again."""
_SCHEMA: Final = (
    "SELECT type, name, tbl_name, sql FROM sqlite_master "
    "WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
)


def pragma(connection: sqlite3.Connection, name: str) -> int | str:
    """Return the present value of a pragma."""
    value = connection.execute(f"PRAGMA {name}").fetchone()[0]
    assert isinstance(value, (int, str))
    return value


def refuse_torn(connection: sqlite3.Connection, path: Path) -> None:
    """Notice a file that is shorter than it says, by less than the page that SQLite would miss.

    To be called when nothing is left in the log: a crash in the middle of a checkpoint leaves
    such a file, and the log makes it whole. The file is not opened here: to close it would drop
    the locks that SQLite holds on it in this process (POSIX advisory locks are like that).
    """
    page_bytes, pages = pragma(connection, "page_size"), pragma(connection, "page_count")
    size = path.stat().st_size
    wanted = int(page_bytes) * int(pages)
    if size < wanted:
        raise CorruptStoreError(f"{path} is torn: it has {size} bytes and should have {wanted}")


def refuse_foreign(connection: sqlite3.Connection, path: Path, application_id: int) -> None:
    """See that an SQLite file with tables is a journal, of a format that this version reads."""
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and pragma(connection, "application_id") != application_id:
        raise ForeignStoreError(f"{path} is not a journal: it belongs to another program")
    version = pragma(connection, "user_version")
    if not 0 <= int(version) <= FILE_FORMAT:
        raise ForeignStoreError(
            f"{path} has format {version}, this version reads formats up to {FILE_FORMAT}"
        )


def refuse_altered(connection: sqlite3.Connection, path: Path, schema: str) -> None:
    """See that the tables and triggers are those of the schema, to the letter."""
    with closing(sqlite3.connect(":memory:")) as model:
        model.executescript(schema)
        wanted = set(model.execute(_SCHEMA))
    found = set(connection.execute(_SCHEMA))
    if found != wanted:
        names = ", ".join(sorted({str(row[1]) for row in found ^ wanted}))
        raise CorruptStoreError(f"{path}: its tables or triggers were altered ({names})")


def refuse_changed_tail(connection: sqlite3.Connection, path: Path) -> None:
    """Hash the newest entries again and see that they follow one another.

    Events of a newer version are entries like all others: they stop whoever would decide by them,
    not the start.
    """
    rows = connection.execute(
        "SELECT position, stream, version, at, entry, leaf FROM event "
        "ORDER BY position DESC LIMIT ?",
        (_TAIL,),
    ).fetchall()
    rows.reverse()
    identity = connection.execute("SELECT id FROM journal").fetchone()
    newest: dict[str, tuple[int, bytes]] = {}
    before = rows[0][0] - 1 if rows else 0
    at_before = 0
    for position, stream, version, at, entry, leaf in rows:
        if leaf_hash(entry) != leaf:
            raise CorruptStoreError(f"{path}: the entry at position {position} was changed")
        event = parse_entry(position, entry)
        last = newest.get(stream)
        if (
            position != before + 1
            or at < at_before
            or (event.stream, event.version, event.at) != (stream, version, at)
            or (event.v, event.journal) != (FORMAT, identity and identity[0])
            or (version == 1 and event.prev != NO_LEAF)
            or (last and (last[0] + 1, last[1].hex()) != (version, event.prev))
        ):
            raise CorruptStoreError(
                f"{path}: the entry at position {position} does not follow the one before it"
            )
        newest[stream], before, at_before = (version, leaf), position, at
    missing = connection.execute(
        "SELECT position FROM event WHERE position > ? AND body_at = position "
        "AND position NOT IN (SELECT position FROM body) "
        "AND position NOT IN (SELECT position FROM erasure) LIMIT 1",
        (before - len(rows),),
    ).fetchone()
    if missing is not None:
        raise CorruptStoreError(f"{path}: the body at position {missing[0]} is missing")
