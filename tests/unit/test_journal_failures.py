"""When the disk or an append fails: what is kept, who hears of it, and how the store finds back."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from refold.journal import sqlite_writer
from refold.journal.errors import (
    ConflictError,
    InvalidCommitError,
    StoreFailedError,
)
from refold.journal.journal import Appended, RequestKey
from refold.journal.sqlite_file import open_writer
from refold.journal.sqlite_store import SqliteJournal
from tests.support.journal_kit import (
    commit,
    held_up,
    opened,
    queued,
    raw,
    requested,
    started,
    write,
)


@asynccontextmanager
async def opened_with_writer(
    directory: Path, monkeypatch: pytest.MonkeyPatch, probe_seconds: float = 600
) -> AsyncGenerator[tuple[SqliteJournal, sqlite3.Connection]]:
    """Open a journal and lay hands on its writer's connection."""
    live: list[sqlite3.Connection] = []

    def kept(path: Path) -> sqlite3.Connection:
        live.append(open_writer(path))
        return live[-1]

    monkeypatch.setattr("refold.journal.sqlite_store.open_writer", kept)
    monkeypatch.setattr(sqlite_writer, "PROBE_SECONDS", probe_seconds)
    async with opened(directory) as journal:
        yield journal, live[0]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another thread brings about."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 (what is waited for has no event to set)
            await asyncio.sleep(0.005)


def leave_pages(connection: sqlite3.Connection, free: int) -> None:
    """Make the disk full after so many more pages: SQLite itself then answers SQLITE_FULL."""
    used = connection.execute("PRAGMA page_count").fetchone()[0]
    limit = connection.execute(f"PRAGMA max_page_count = {used + free}").fetchone()[0]
    assert limit == used + free


def test_a_full_disk_loses_nothing_and_is_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole group hears of it, readers and subscribers nothing, and space mends it."""

    async def main() -> None:
        async with opened_with_writer(tmp_path, monkeypatch) as (journal, writer):
            told: list[int] = []
            journal.subscribe(lambda events: told.extend(event.position for event in events))
            first = await journal.append(commit(write("a", 0, started(b"kept"))))
            leave_pages(writer, 20)
            with held_up(tmp_path / "journal.db"):
                alone = await queued(journal.append(commit(write("alone", 0))))
                await asyncio.sleep(0.05)  # the writer has taken it, and waits for the lock
                key = RequestKey("s", "k", "d")
                group = await queued(
                    journal.append(commit(write("b", 0, requested("w")), request=key)),
                    journal.append(commit(write("c", 0, started(bytes(500_000))))),
                    journal.append(commit(write("a", 7))),
                )
            await asyncio.gather(*alone)
            answers = await asyncio.gather(*group, return_exceptions=True)
            for answer in answers:
                assert isinstance(answer, StoreFailedError)
                assert "database or disk is full" in str(answer)
            assert len({id(answer) for answer in answers}) == 3
            assert (journal.head, told) == (3, [2, 3])
            assert await journal.holds() == []
            assert [event.id for event in await journal.read_stream("a")] == [first.events[0].id]
            with pytest.raises(ConflictError):
                # A refusal writes nothing, so it proves nothing about the disk.
                await journal.append(commit(write("a", 5)))
            assert not journal.is_writable
            assert not (await journal.append(commit(write("b", 0), request=key))).repeated
            assert journal.is_writable
            leave_pages(writer, 1000)
            await journal.append(commit(write("c", 0, started(bytes(500_000)))))

    asyncio.run(main())


def test_a_store_that_failed_finds_back_without_being_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that is taken out of rotation gets no request that could find it mended."""

    async def main() -> None:
        async with opened_with_writer(tmp_path, monkeypatch, 0.01) as (journal, writer):
            await journal.append(commit(write("a", 0)))
            # The writer can't begin a transaction: this is what a failing disk looks like.
            writer.execute("PRAGMA query_only = 1")
            with pytest.raises(StoreFailedError, match="readonly"):
                await journal.append(commit(write("a", 1)))
            assert not journal.is_writable
            writer.execute("PRAGMA query_only = 0")
            await until(lambda: journal.is_writable)
            assert journal.head == 2
            await journal.append(commit(write("a", 1)))

    asyncio.run(main())


def test_an_append_that_sqlite_can_t_store_takes_no_other_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group that fails for another reason than the disk is done again one by one."""

    async def main() -> None:
        async with opened_with_writer(tmp_path, monkeypatch) as (journal, writer):
            writer.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)
            with held_up(tmp_path / "journal.db"):
                tasks = await queued(
                    journal.append(commit(write("first", 0))),
                    journal.append(commit(write("b", 0), write("c", 0))),
                    journal.append(commit(write("huge", 0), write("d", 0, started(bytes(20_000))))),
                    journal.append(commit(write("b", 1))),
                )
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            assert [isinstance(answer, Appended) for answer in answers] == [True, True, False, True]
            assert isinstance(answers[2], InvalidCommitError)
            assert journal.is_writable
            events = await journal.read_all()
            assert [event.position for event in events] == [1, 2, 3, 4, 5]
            assert {event.stream for event in events} == {"sys", "first", "b", "c"}

    asyncio.run(main())


def test_a_second_hand_in_the_file_stops_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who ignores the lock and appends: this process must not write past it."""

    async def main() -> None:
        async with opened_with_writer(tmp_path, monkeypatch) as (journal, _):
            await journal.append(commit(write("a", 0)))
            with raw(tmp_path / "journal.db") as other:
                other.execute(
                    "INSERT INTO event SELECT 3, 'b', 1, at, entry, leaf, 0 FROM event LIMIT 1"
                )
            with pytest.raises(StoreFailedError, match="position is not the next one"):
                await journal.append(commit(write("a", 1)))
            with pytest.raises(StoreFailedError, match="ends at 3 and this process knows of 2"):
                await journal.append(commit(write("a", 1)))
            assert (journal.is_writable, journal.head) == (False, 2)

    asyncio.run(main())
