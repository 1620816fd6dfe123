"""The journal's file: what its triggers and its own connection refuse, and how it is opened."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Generator
from pathlib import Path

import pytest

from refold.journal.errors import (
    CorruptStoreError,
)
from refold.journal.sqlite_file import open_writer
from tests.support.journal_kit import commit, opened, raw, started, write

BODY = b"body" * 5000


async def fill(directory: Path) -> None:
    """Make a journal of four events: the first one, two of stream a, one of b."""
    async with opened(directory) as journal:
        await journal.append(commit(write("a", 0, started(BODY)), write("b", 0)))
        await journal.append(commit(write("a", 1)))


async def reopen(directory: Path) -> None:
    """Open the journal as a start does."""
    async with opened(directory):
        pass


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    asyncio.run(fill(tmp_path))
    return tmp_path / "journal.db"


@pytest.fixture(name="hand", params=["the triggers alone", "the store's own connection"])
def _hand(request: pytest.FixtureRequest, file: Path) -> Generator[sqlite3.Connection]:
    """A hand in the file: any program's connection, and the one that the store itself uses."""
    if request.param == "the triggers alone":
        with raw(file) as connection:
            yield connection
    else:
        connection = open_writer(file)
        try:
            yield connection
        finally:
            connection.close()


def insert(position: int | str, stream: str, version: int, verb: str = "INSERT") -> str:
    """Make a statement that inserts a copy of the first event somewhere."""
    return (
        f"{verb} INTO event SELECT {position}, '{stream}', {version}, at, entry, leaf, 0 "
        "FROM event WHERE position = 1"
    )


REWRITES = {
    "replace a position": insert(2, "a", 3, "INSERT OR REPLACE"),
    "replace a version": insert(5, "a", 2, "INSERT OR REPLACE"),
    "ignore a position": insert(2, "a", 3, "INSERT OR IGNORE"),
    "upsert an event": insert(2, "a", 3) + " ON CONFLICT DO UPDATE SET at = 0",
    "leave a hole": insert(6, "a", 3),
    "leave out the position": insert("NULL", "a", 3),
    "leave a version out": insert(5, "a", 4),
    "begin a stream at 2": insert(5, "c", 2),
    "update an event": "UPDATE event SET at = 0 WHERE position = 2",
    "update or replace": "UPDATE OR REPLACE event SET position = 3 WHERE position = 2",
    "move an event": "UPDATE event SET rowid = 9 WHERE position = 4",
    "delete an event": "DELETE FROM event WHERE position = 4",
    "delete all events": "DELETE FROM event",
    "update a body": "UPDATE body SET data = x'00'",
    "overwrite a body without erasure": "UPDATE body SET salt = zeroblob(32), "
    "data = zeroblob(length(data)), subject = NULL",
    "replace a body": "INSERT OR REPLACE INTO body SELECT position, salt, subject, x'00' FROM body",
    "add a body": "INSERT INTO body SELECT 3, salt, subject, data FROM body",
    "add a body to no event": "INSERT INTO body SELECT 99, salt, subject, data FROM body",
    "delete a body without erasure": "DELETE FROM body WHERE position = 2",
    "erase without an event": "INSERT INTO erasure VALUES (2, 99)",
    "erase by another event": "INSERT INTO erasure VALUES (2, 4)",
    "change the identity": "UPDATE journal SET id = 'x'",
    "replace the identity": "INSERT OR REPLACE INTO journal VALUES (1, 'x', 1, 1)",
    "delete the identity": "DELETE FROM journal",
}


def contents(file: Path) -> list[tuple[object, ...]]:
    """Read everything that must not change."""
    with raw(file) as connection:
        return [
            row
            for table in ("event", "body", "journal", "erasure")
            for row in connection.execute(f"SELECT * FROM {table}")
        ]


@pytest.mark.parametrize("statement", REWRITES.values(), ids=REWRITES.keys())
def test_history_is_not_rewritten_by_any_hand(
    hand: sqlite3.Connection, file: Path, statement: str
) -> None:
    """No row of the event table is ever updated or deleted, by code or by hand."""
    before = contents(file)
    with pytest.raises(sqlite3.DatabaseError, match=r"^(journal: |not authorized)"):
        hand.execute(statement)
    assert contents(file) == before


ERASE = (
    "UPDATE body SET salt = zeroblob(32), data = zeroblob(length(data)), subject = NULL "
    "WHERE position = 2"
)


def test_a_body_is_erased_for_good_by_a_commit_that_says_so(
    hand: sqlite3.Connection, file: Path
) -> None:
    """The one change there is: to zeros, with its event, once, and never undone."""
    hand.execute("BEGIN")
    row = hand.execute("SELECT * FROM event WHERE position = 4").fetchone()
    entry = row[4].replace(b'"run.started"', b'"payload.erased"')
    hand.execute("INSERT INTO event VALUES (5, 'a', 3, ?, ?, ?, 0)", (row[3], entry, row[5]))
    hand.execute("INSERT INTO erasure VALUES (2, 5)")
    kept = hand.execute("SELECT * FROM body").fetchone()
    hand.execute(ERASE)
    hand.execute("COMMIT")
    gone = (2, bytes(32), None, bytes(len(kept[3])))
    assert hand.execute("SELECT * FROM body").fetchone() == gone
    for statement in (
        "UPDATE body SET data = x'00'",
        "UPDATE body SET salt = randomblob(32)",
        "UPDATE body SET subject = 'ada'",
        "UPDATE body SET data = zeroblob(length(data) + 1)",
        "UPDATE body SET position = 3",
        "INSERT OR REPLACE INTO body SELECT position, randomblob(32), subject, data FROM body",
        "INSERT OR REPLACE INTO erasure VALUES (2, 5)",
        "UPDATE erasure SET by_position = 4",
        "DELETE FROM erasure",
    ):
        with pytest.raises(sqlite3.DatabaseError, match=r"^(journal: |not authorized)"):
            hand.execute(statement)
    with raw(file) as other:
        other.execute("DELETE FROM body")
        with pytest.raises(sqlite3.DatabaseError, match=r"^journal: the body was erased"):
            other.execute("INSERT INTO body VALUES (?, ?, ?, ?)", kept)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET at = 0",
        "DELETE FROM event",
        "DELETE FROM body",
        "UPDATE hold SET resource = ''",
        "DELETE FROM erasure",
        "UPDATE journal SET id = ''",
        "DROP TABLE event",
        "DROP TRIGGER event_no_update",
        "DROP INDEX body_subject",
        "ALTER TABLE event ADD COLUMN x",
        "ALTER TABLE event RENAME TO x",
        "CREATE TABLE x (y)",
        "CREATE TRIGGER x AFTER INSERT ON event BEGIN DELETE FROM request; END",
        "CREATE TEMP TRIGGER x AFTER INSERT ON event BEGIN DELETE FROM request; END",
        "CREATE VIEW x AS SELECT 1",
        "ATTACH ':memory:' AS x",
        "VACUUM INTO '/dev/null'",
        "REINDEX",
        "PRAGMA writable_schema = 1",
        "PRAGMA synchronous = OFF",
        "PRAGMA Synchronous(1)",
        "PRAGMA main.journal_mode = DELETE",
        "PRAGMA secure_delete = 0",
        "PRAGMA recursive_triggers = 0",
        "PRAGMA ignore_check_constraints = 1",
        "PRAGMA user_version = 1",
        "UPDATE sqlite_master SET sql = ''",
    ],
)
def test_the_store_s_own_connection_does_not_prepare_what_it_never_needs(
    file: Path, statement: str
) -> None:
    """A bug or an injected statement meets the authorizer before it meets a row or a trigger."""
    connection = open_writer(file)
    try:
        with pytest.raises(sqlite3.DatabaseError, match=r"not auth|denied|may not be"):
            connection.execute(statement)
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ("DROP TRIGGER event_no_update", "event_no_update"),
        ("DROP TABLE event", "event"),
        ("DROP INDEX body_subject", "body_subject"),
        ("CREATE TABLE extra (x)", "extra"),
        (
            "DROP TRIGGER event_no_delete; CREATE TRIGGER event_no_delete BEFORE DELETE ON event "
            "BEGIN SELECT 1; END",
            "event_no_delete",
        ),
    ],
)
def test_altered_tables_or_triggers_are_noticed_at_the_next_start(
    file: Path, damage: str, named: str
) -> None:
    """No trigger can refuse a DROP by a foreign hand, so a start compares the whole schema."""
    with raw(file) as connection:
        connection.executescript(damage)
    with pytest.raises(CorruptStoreError, match=rf"tables or triggers were altered.*{named}"):
        asyncio.run(reopen(file.parent))


def test_the_live_writer_syncs_every_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `synchronous` NORMAL or OFF a power cut takes acknowledged events with it."""
    live: list[sqlite3.Connection] = []

    def kept(path: Path) -> sqlite3.Connection:
        live.append(open_writer(path))
        return live[-1]

    monkeypatch.setattr("refold.journal.sqlite_store.open_writer", kept)

    async def main() -> None:
        async with opened(tmp_path) as journal:
            await journal.append(commit(write("a", 0)))
            (writer,) = live
            values = {
                name: writer.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("journal_mode", "synchronous", "secure_delete", "recursive_triggers")
            }
            assert values == {
                "journal_mode": "wal",
                "synchronous": 2,
                "secure_delete": 1,
                "recursive_triggers": 1,
            }

    asyncio.run(main())
