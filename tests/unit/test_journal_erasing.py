"""Erasure on disk: not a byte of it is left in any file, and nobody waits for that for long."""

from __future__ import annotations

import asyncio
import os
import random
import time
from contextlib import closing
from pathlib import Path

import pytest

from refold.journal import events as e
from refold.journal import sqlite_file, sqlite_writer, verifier
from refold.journal.errors import CorruptStoreError, StoreFailedError
from refold.journal.journal import Commit, NewEvent, StreamWrite
from refold.journal.sqlite_file import empty_log, open_reader, open_writer
from refold.journal.sqlite_reader import Reader
from refold.journal.sqlite_store import SqliteJournal
from tests.support.journal_kit import META, NEW_IDS, commit, opened, raw, started, write

EARLIER = """CREATE TRIGGER body_no_update BEFORE UPDATE ON body BEGIN
  SELECT RAISE(ABORT, 'journal: a body is written once');
END"""
FORMAT_2 = """CREATE TRIGGER body_no_update BEFORE UPDATE ON body BEGIN
  SELECT RAISE(ABORT, 'journal: a body is written once')
    WHERE NOT EXISTS (SELECT 1 FROM erasure WHERE position = OLD.position)
      OR NEW.position IS NOT OLD.position
      OR NEW.salt IS NOT zeroblob(32)
      OR NEW.data IS NOT zeroblob(length(OLD.data))
      OR NEW.subject IS NOT NULL;
END"""


async def keep(journal: SqliteJournal, body: bytes) -> int:
    """Write a body into stream `a`; returns where it stands."""
    version = len(await journal.read_stream("a", limit=10_000))
    made = await journal.append(commit(write("a", version, started(body))))
    return made.events[0].position


async def erase(journal: SqliteJournal, *positions: int) -> None:
    """Erase bodies of stream `a`."""
    facts = e.PayloadErased(positions=" ".join(map(str, positions)), reason="asked", target="a")
    version = len(await journal.read_stream("sys", limit=10_000))
    said = StreamWrite("sys", version, [NewEvent(NEW_IDS.new(), facts)], META)
    await journal.append(Commit([said], erased=positions))


def files(directory: Path) -> bytes:
    """Read every byte of the directory."""
    return b"".join(path.read_bytes() for path in sorted(directory.iterdir()))


async def log_emptied(journal: SqliteJournal, directory: Path) -> None:
    """Read until nothing is left in the write-ahead log."""
    async with asyncio.timeout(20):
        while (directory / "journal.db-wal").stat().st_size:
            await journal.read_stream("a", limit=1)


def test_erased_bytes_are_in_no_file_while_the_journal_is_open(tmp_path: Path) -> None:
    """Neither in the database nor in the log, long bodies on pages of their own included."""

    async def main() -> None:
        async with opened(tmp_path) as journal:
            secret, kept = os.urandom(40), os.urandom(40)
            long = os.urandom(30_000)
            at = await keep(journal, secret)
            await keep(journal, kept)
            long_at = await keep(journal, long)
            assert secret in files(tmp_path)
            await erase(journal, at, long_at)
            await log_emptied(journal, tmp_path)
            found = files(tmp_path)
            assert kept in found
            assert secret not in found
            for part in (long[:100], long[4_500:4_600], long[-100:]):
                assert part not in found

    asyncio.run(main())


def test_neighbours_of_what_was_erased_leave_no_copies_behind(tmp_path: Path) -> None:
    """Rows that moved would leave their bytes in the gaps of pages, where no erasure finds them."""
    chance = random.Random(7)
    sizes = (60, 60, 200, 1500, 5000)

    async def main() -> None:
        async with opened(tmp_path) as journal:
            bodies = [os.urandom(chance.choice(sizes)) for _ in range(400)]
            await journal.append(commit(write("a", 0, *(started(body) for body in bodies))))
            order = list(range(2, 402))
            chance.shuffle(order)
            gone = order[:330]
            for position in gone:
                await erase(journal, position)
            await log_emptied(journal, tmp_path)
            found = files(tmp_path)
            assert [p for p in gone if bodies[p - 2][:60] in found] == []
            assert [p for p in order[330:] if bodies[p - 2][:30] not in found] == []

    asyncio.run(main())


def test_a_reader_that_stands_in_the_way_is_not_waited_for(tmp_path: Path) -> None:
    """Appends go on, and the log is emptied once the reader is gone."""

    async def main() -> None:
        async with opened(tmp_path) as journal:
            secret = os.urandom(40)
            at = await keep(journal, secret)
            with raw(tmp_path / "journal.db") as reader:
                reader.execute("BEGIN")
                reader.execute("SELECT count(*) FROM event").fetchone()
                await erase(journal, at)
                async with asyncio.timeout(20):
                    await asyncio.gather(*(keep_alone(journal, n) for n in range(50)))
                reader.execute("COMMIT")
            await log_emptied(journal, tmp_path)
            assert secret not in files(tmp_path)

    async def keep_alone(journal: SqliteJournal, number: int) -> None:
        for version in range(5):
            await journal.append(commit(write(f"s{number}", version)))

    asyncio.run(main())


def test_a_log_that_is_read_is_left_after_a_short_wait(tmp_path: Path) -> None:
    """The writer's usual patience of seconds would hold up every append behind it."""

    async def main() -> None:
        async with opened(tmp_path) as journal:
            await keep(journal, b"x")

    asyncio.run(main())
    connection = open_writer(tmp_path / "journal.db")
    try:
        with raw(tmp_path / "journal.db") as reader:
            sqlite_file.probe(connection)
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM event").fetchone()
            sqlite_file.probe(connection)
            began = time.monotonic()
            assert not empty_log(connection)
            assert time.monotonic() - began < 3
            reader.execute("COMMIT")
            assert connection.execute("PRAGMA busy_timeout").fetchone() == (5000,)
            assert empty_log(connection)
    finally:
        connection.close()


def test_a_journal_that_closes_right_after_an_erasure_empties_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where another program keeps the file open, so that closing alone does not."""
    monkeypatch.setattr(sqlite_writer, "SCRUB_SECONDS", 3600.0)
    secret = os.urandom(40)

    async def main() -> None:
        async with opened(tmp_path) as journal:
            await erase(journal, await keep(journal, secret))

    asyncio.run(fill(tmp_path))
    with raw(tmp_path / "journal.db") as other:
        other.execute("SELECT count(*) FROM event").fetchone()
        asyncio.run(main())
        assert secret not in files(tmp_path)


async def fill(directory: Path) -> None:
    """Make a journal."""
    async with opened(directory) as journal:
        await keep(journal, b"first")


@pytest.mark.parametrize(("number", "trigger"), [(1, EARLIER), (2, FORMAT_2)])
def test_a_file_of_an_earlier_format_learns_to_erase_and_to_archive(
    tmp_path: Path, number: int, trigger: str
) -> None:
    """Everything in it stays; verifier and readers take it as it is, too."""
    asyncio.run(fill(tmp_path))
    with raw(tmp_path / "journal.db") as connection:
        connection.executescript(
            f"DROP TRIGGER body_no_update; DROP TABLE archive; {trigger};"
            f"PRAGMA user_version = {number};"
        )
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        before = connection.execute("SELECT * FROM event").fetchall()

    with closing(open_reader(tmp_path / "journal.db")) as connection:
        assert list(Reader(connection).bodies([2])) == [2]
    assert verifier.verify(tmp_path / "journal.db")[0] == verifier.VALID

    async def main() -> None:
        async with opened(tmp_path) as journal:
            await erase(journal, 2)
            assert await journal.read_bodies([2]) == {}
            assert await journal.read_segments([2]) == {}

    asyncio.run(main())
    with raw(tmp_path / "journal.db") as connection:
        assert connection.execute("SELECT * FROM event").fetchall()[: len(before)] == before
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)


@pytest.mark.parametrize("instead", ["", EARLIER.replace("BEFORE UPDATE ON", "AFTER UPDATE ON")])
def test_a_file_of_format_1_that_was_altered_is_refused(tmp_path: Path, instead: str) -> None:
    """The step to the present format mends nothing that somebody did."""
    asyncio.run(fill(tmp_path))
    with raw(tmp_path / "journal.db") as connection:
        connection.executescript(
            f"DROP TRIGGER body_no_update; {instead}; PRAGMA user_version = 1;"
        )
    with pytest.raises(CorruptStoreError, match=r"altered \(body_no_update\)"):
        asyncio.run(fill(tmp_path))


def test_an_erasure_that_the_disk_refuses_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Body, event and the row that says so come in one transaction."""
    monkeypatch.setattr(sqlite_writer, "PROBE_SECONDS", 0.01)

    async def main() -> None:
        async with opened(tmp_path) as journal:
            at = await keep(journal, b"still here")
            with raw(tmp_path / "journal.db") as other:
                (trigger,) = other.execute(
                    "SELECT sql FROM sqlite_master WHERE name = 'body_no_update'"
                ).fetchone()
                other.execute("DROP TRIGGER body_no_update")
                other.execute(EARLIER)
                with pytest.raises(StoreFailedError):
                    await erase(journal, at)
                other.execute("DROP TRIGGER body_no_update")
                other.execute(trigger)
            assert (await journal.read_bodies([at]))[at].data == b"still here"
            assert len(await journal.read_stream("sys")) == 1

    asyncio.run(main())
