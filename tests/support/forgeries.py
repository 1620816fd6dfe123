"""What a person with the journal's file in hand may try: each is a change that must be found."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from refold.journal.envelope import leaf_hash
from tests.support.evidence_kit import OTHER, RERUN, RUN
from tests.support.journal_kit import raw

Forge = Callable[[sqlite3.Connection], object]


def forge(file: Path, change: Forge) -> None:
    """Change a journal's file with its triggers gone, and put them back as they were."""
    with raw(file) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA ignore_check_constraints = 1")
        connection.execute("BEGIN")
        triggers = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY rowid"
        ).fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        change(connection)
        for _, statement in triggers:
            connection.execute(statement)
        connection.execute("COMMIT")


def sql(statement: str, *values: object) -> Forge:
    """Change a file by a statement."""

    def change(connection: sqlite3.Connection) -> None:
        assert connection.execute(statement, values).rowcount, statement

    return change


def rewritten(position: int, old: bytes, new: bytes, mends_leaf: bool = True) -> Forge:
    """Change an entry, 0 for the newest, and its leaf with it."""

    def change(connection: sqlite3.Connection) -> None:
        where = position or connection.execute("SELECT max(position) FROM event").fetchone()[0]
        entry, leaf = connection.execute(
            "SELECT entry, leaf FROM event WHERE position = ?", (where,)
        ).fetchone()
        assert old in entry
        entry = entry.replace(old, new, 1)
        connection.execute(
            "UPDATE event SET entry = ?, leaf = ? WHERE position = ?",
            (entry, leaf_hash(entry) if mends_leaf else leaf, where),
        )

    return change


def without_run(connection: sqlite3.Connection) -> None:
    """Remove a whole run and close the ranks behind it, in every table."""
    gone = "(SELECT position FROM event WHERE stream = ?)"
    connection.execute(f"DELETE FROM body WHERE position IN {gone}", (OTHER,))
    places = [row[0] for row in connection.execute(gone[1:-1], (OTHER,))]
    connection.execute("DELETE FROM event WHERE stream = ?", (OTHER,))
    for place in reversed(places):
        for table, column in (
            ("event", "position"),
            ("event", "body_at"),
            ("body", "position"),
            ("erasure", "position"),
            ("erasure", "by_position"),
        ):
            # Two steps, since a position may not be taken twice in between.
            connection.execute(f"UPDATE {table} SET {column} = -{column} WHERE {column} > {place}")
            connection.execute(f"UPDATE {table} SET {column} = -{column} - 1 WHERE {column} < 0")


def exchanged(connection: sqlite3.Connection) -> None:
    """Let two bodies change places."""
    rows = connection.execute("SELECT position, salt, data FROM body LIMIT 2").fetchall()
    for (position, *_), (_, salt, data) in zip(rows, reversed(rows), strict=True):
        connection.execute(
            "UPDATE body SET salt = ?, data = ? WHERE position = ?", (salt, data, position)
        )


def hidden(connection: sqlite3.Connection) -> None:
    """Take a body away and say that it was erased, by an event that says no such thing."""
    connection.execute("DELETE FROM body WHERE position = 4")
    connection.execute("INSERT INTO erasure VALUES (4, 9)")


def _prev(connection: sqlite3.Connection) -> bytes:
    entry: bytes = connection.execute(
        "SELECT entry FROM event ORDER BY position DESC LIMIT 1"
    ).fetchone()[0]
    at = entry.index(b'"prev":"')
    return entry[at : at + 73]


def _earlier(connection: sqlite3.Connection) -> None:
    """Let the newest entry be older than those before it, in its row too."""
    at = connection.execute("SELECT at FROM event ORDER BY position DESC LIMIT 1").fetchone()[0]
    rewritten(0, b'"at":%d' % at, b'"at":%d' % (at - 8))(connection)
    connection.execute(
        "UPDATE event SET at = at - 8 WHERE position = (SELECT max(position) FROM event)"
    )


ZEROS, ONES = b"0" * 64, b"1" * 64
_WHERE = f"WHERE stream = '{RUN}' AND version = 2"
LONE: dict[str, Forge] = {
    "one old body": sql("UPDATE body SET data = ? WHERE position = 4", b"forged"),
    "one salt": sql("UPDATE body SET salt = ? WHERE position = 4", b"s" * 32),
    "one old entry": rewritten(4, b'"acme"', b'"evil"', mends_leaf=False),
    "one old entry with its leaf": rewritten(4, b'"acme"', b'"evil"'),
    "one leaf": sql(f"UPDATE event SET leaf = ? {_WHERE}", sha256(b"").digest()),
    "the column stream": sql(f"UPDATE event SET stream = 'fl_run_x' {_WHERE}"),
    "the column version": sql(f"UPDATE event SET version = 77 {_WHERE}"),
    "the column at": sql(f"UPDATE event SET at = at + 1 {_WHERE}"),
    "the column body_at": sql(f"UPDATE event SET body_at = 3 {_WHERE}"),
    "body_at of a replayed event": sql(
        f"UPDATE event SET body_at = 3 WHERE stream = '{RERUN}' AND version = 3"
    ),
    "the source of a replayed event": rewritten(0, b'"src":"",', b'"src":"sys@1#%s",' % ZEROS),
    "a run removed": sql(f"DELETE FROM event WHERE stream = '{OTHER}'"),
    "bodies exchanged": exchanged,
    "a body too many": sql("INSERT INTO body VALUES (1, zeroblob(32), NULL, zeroblob(1))"),
    "a body of no event": sql("INSERT INTO body VALUES (99, zeroblob(32), NULL, zeroblob(1))"),
    "a body hidden as erased": hidden,
    "a body gone": sql("DELETE FROM body WHERE position = 4"),
    "an erasure forgotten": sql("DELETE FROM erasure"),
    "an erasure by another event": sql("UPDATE erasure SET by_position = 9"),
    "an erasure that names another body": rewritten(16, b'"positions":"5"', b'"positions":"5 6"'),
    "an erasure of another stream": rewritten(16, b'"target":"fl_run', b'"target":"xx_run'),
    "an erased body filled again": sql("UPDATE body SET data = ? WHERE position = 5", b"forged"),
    "the newest entry's prev": lambda db: rewritten(0, _prev(db), b'"prev":"%s"' % ONES)(db),
    "the newest entry's time": _earlier,
    "the newest entry's journal": rewritten(0, b'"journal":"', b'"journal":"0'),
    "the newest entry's format": rewritten(0, b'"v":1,', b'"v":2,'),
    "a fact twice": rewritten(0, b'"facts":{', b'"facts":{"node":"",'),
    "facts out of order": rewritten(0, b'"facts":{', b'"facts":{"zzz":"",'),
    "a number past 2^53": rewritten(0, b'"facts":{', b'"facts":{"a":9007199254740992,'),
    "white space": rewritten(0, b'"facts":{', b'"facts": {'),
    "half a character": rewritten(0, b'"corr":"', b'"corr":"\xc3'),
    "another spelling of a character": rewritten(0, b'"corr":"', b'"corr":"\\u0041'),
    "the identity": sql("UPDATE journal SET id = 'x'"),
    "a second identity": sql("INSERT INTO journal SELECT 2, 'x', format, created_at FROM journal"),
    "another program's file": lambda db: db.execute("PRAGMA application_id = 1"),
}
"""Found in a file that stands alone, without any checkpoint."""

SIGNED: dict[str, Forge] = {
    "the newest entry rewritten": rewritten(0, b'"acme"', b'"evil"'),
    "the tail removed": sql("DELETE FROM event WHERE position = (SELECT max(position) FROM event)"),
    "a whole run removed, ranks closed": without_run,
    "everything removed": lambda db: [
        db.execute(f"DELETE FROM {table}") for table in ("event", "body", "erasure", "journal")
    ],
}
"""Found against a checkpoint alone: in itself the file is a journal."""
