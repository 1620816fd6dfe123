"""The file of the views: disposable, made anew by itself, and never silently wrong."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from refold.journal.journal import Commit, NewEvent, StreamWrite
from refold.journal.sqlite_file import JOURNAL_FILE
from refold.projections.errors import (
    StaleViewsError,
    ViewsBusyError,
    ViewsFailedError,
)
from refold.projections.views_file import VIEWS_FILE, rebuild_lock
from tests.support.journal_kit import META, NEW_IDS, opened
from tests.support.projection_kit import FAILED, STARTED, run_commits
from tests.support.views_kit import (
    WORKFLOW,
    add_bulk,
    add_runs,
    add_workflow,
    all_runs,
    change,
    digests,
    query,
    served,
    viewed,
)


def test_deleted_views_come_back_the_same(tmp_path: Path) -> None:
    """Everything but the journal can be deleted."""

    async def main() -> None:
        async with opened(tmp_path) as journal:
            async with viewed(tmp_path, journal) as views:
                await add_workflow(journal)
                await add_runs(journal, 20)
                await add_runs(journal, 20, facts=FAILED)
                await views.wait_for(journal.head)
                rows, before = await all_runs(views), await digests(views)
            (tmp_path / VIEWS_FILE).unlink()
            async with viewed(tmp_path, journal) as views:
                await views.wait_for(journal.head)
                assert await all_runs(views) == rows
                assert await digests(views) == before

    asyncio.run(main())


def _garbage(directory: Path) -> None:
    (directory / VIEWS_FILE).write_bytes(b"not a database" * 1000)


def _other_program(directory: Path) -> None:
    (directory / VIEWS_FILE).unlink()
    change(directory, "CREATE TABLE mine (x); PRAGMA user_version = 1")


def _empty(directory: Path) -> None:
    (directory / VIEWS_FILE).write_bytes(b"")


def _cut(length: int) -> Callable[[Path], None]:
    def cut(directory: Path) -> None:
        path = directory / VIEWS_FILE
        path.write_bytes(path.read_bytes()[:-length])

    return cut


def _statement(script: str) -> Callable[[Path], None]:
    return lambda directory: change(directory, script)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_garbage, "damaged"),
        (_other_program, "not a file of views"),
        (_empty, ""),
        (_cut(100), "torn"),
        (_cut(5000), "damaged"),
        (_statement("PRAGMA user_version = 99"), "another format"),
        (_statement("UPDATE meta SET journal = 'x'"), "another journal"),
        (_statement("DELETE FROM meta"), "another journal"),
        (_statement("DROP TABLE meta"), "damaged"),
        (_statement("UPDATE meta SET boot = 'an earlier one'"), "the machine stopped"),
        (_statement("UPDATE projection SET leaf = x'00'"), "another history"),
        (_statement("UPDATE projection SET position = 9999"), "another history"),
        (_statement("UPDATE projection SET version = 0"), "version 0 at position"),
        (_statement("DROP INDEX run_created_1"), "projection runs"),
        (_statement("ALTER TABLE log_1 ADD COLUMN mine TEXT"), "projection runs"),
        (_statement("DROP VIEW run"), "projection runs"),
        (_statement("DROP VIEW workflow; DELETE FROM projection WHERE tables = 'workflow'"), ""),
    ],
)
def test_a_file_that_cannot_be_trusted_is_made_anew_by_itself(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], None],
    reason: str,
) -> None:
    """Views are disposable: what may be wrong is thrown away, with a line that says why."""

    async def main() -> None:
        async with opened(tmp_path) as journal:
            async with viewed(tmp_path, journal) as views:
                await add_runs(journal, 12)
                await views.wait_for(journal.head)
                rows, before = await all_runs(views), await digests(views)
            spoil(tmp_path)
            with caplog.at_level(logging.WARNING, "refold.projections"):
                async with viewed(tmp_path, journal) as views:
                    await views.wait_for(journal.head)
                    assert await all_runs(views) == rows
                    assert await digests(views) == before

    asyncio.run(main())
    assert reason in caplog.text
    assert bool(caplog.text) == bool(reason)


def test_views_that_were_closed_cleanly_outlive_a_restart_of_the_machine(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Only a file that was in use may have been torn by a power cut."""

    async def main() -> None:
        async with served(tmp_path) as (journal, views):
            await add_runs(journal, 1)
            await views.wait_for(journal.head)
            ((in_use,),) = query(tmp_path, "SELECT boot FROM meta")
            assert in_use != ""
        assert query(tmp_path, "SELECT boot FROM meta") == [("",)]

    asyncio.run(main())
    assert caplog.text == ""


def _scribble(path: Path) -> None:
    """Overwrite every page but the first, in the file and not through SQLite."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (path.stat().st_size - 4096))
        # The other connections trust what they remember until the header's counter moves.
        with contextlib.suppress(sqlite3.DatabaseError):
            connection.execute("PRAGMA user_version = 1")


def _unlinked(path: Path) -> None:
    path.unlink()


def _truncated(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(8192)


def _of_another_journal(path: Path) -> None:
    other = path.with_name("other")
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE mine (x)")
    other.replace(path)


@pytest.mark.parametrize("lose", [_unlinked, _truncated, _of_another_journal, _scribble])
def test_a_file_that_is_lost_while_it_is_in_use_is_made_anew_and_lists_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, lose: Callable[[Path], None]
) -> None:
    """Nobody has to restart, or to know which file to delete; the alarm names it."""

    async def main() -> None:
        async with served(tmp_path) as (journal, views):
            await add_bulk(journal, 4, 250)
            await views.wait_for(journal.head)
            before = await digests(views)
            await asyncio.to_thread(lose, tmp_path / VIEWS_FILE)
            await add_runs(journal, 1)
            while views.projector.incarnation == 0:
                with contextlib.suppress(StaleViewsError, ViewsFailedError):
                    await views.wait_for(journal.head)
                    await all_runs(views)
            await views.wait_for(journal.head)
            assert len(await all_runs(views)) == 2
            assert views.fault == ""
            assert await digests(views) != before
            rows = await all_runs(views)
        async with served(tmp_path) as (journal, views):
            await views.wait_for(journal.head)
            assert await all_runs(views) == rows

    asyncio.run(main())
    assert "views.db is made anew" in caplog.text


def test_a_start_beside_a_rebuild_serves_good_views_and_refuses_to_replace_bad_ones(
    tmp_path: Path,
) -> None:
    """A rebuild goes on through a restart of the service, and two never work on one file."""

    async def main() -> None:
        async with opened(tmp_path) as journal:
            async with viewed(tmp_path, journal) as views:
                await add_runs(journal, 1)
                await views.wait_for(journal.head)
            with rebuild_lock(tmp_path):
                async with viewed(tmp_path, journal) as views:
                    await views.wait_for(journal.head)
                    assert len(await all_runs(views)) == 1
                change(tmp_path, "UPDATE projection SET version = 0")
                with pytest.raises(ViewsBusyError, match="another process is rebuilding"):
                    async with viewed(tmp_path, journal):
                        pass

    asyncio.run(main())


def test_a_path_that_can_hold_no_file_is_told_in_one_sentence(tmp_path: Path) -> None:
    """An operator sees the path and the reason."""
    (tmp_path / VIEWS_FILE).mkdir()

    async def main() -> None:
        async with opened(tmp_path) as journal:
            with pytest.raises(ViewsFailedError, match=r"views\.db can't be used"):
                async with viewed(tmp_path, journal):
                    pass

    asyncio.run(main())


def test_views_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    """The names of nodes and runs are nobody else's business."""

    modes: dict[str, int] = {}

    async def main() -> None:
        async with served(tmp_path) as (journal, views):
            await views.wait_for(journal.head)
            modes.update(await asyncio.to_thread(_modes, tmp_path))

    asyncio.run(main())
    assert modes.keys() >= {"views.db", "views.db-wal", "views.lock"}
    assert set(modes.values()) == {0o600}


def _modes(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in directory.glob("views*")}


def test_a_journal_that_was_set_back_gets_new_views(tmp_path: Path) -> None:
    """A restored backup has another history; rows of the lost one must go."""
    backup = tmp_path / "backup"

    async def main() -> None:
        data = tmp_path / "data"
        data.mkdir()
        async with opened(data) as journal:
            await add_runs(journal, 1)
        shutil.copytree(data, backup)
        async with served(data) as (journal, views):
            await add_runs(journal, 3)
            await views.wait_for(journal.head)
        shutil.copy(backup / JOURNAL_FILE, data / JOURNAL_FILE)
        async with served(data) as (journal, views):
            for step in run_commits("fl_run_later", WORKFLOW):
                await journal.append(step)
            extra = [NewEvent(NEW_IDS.new(), STARTED) for _ in range(20)]
            await journal.append(Commit([StreamWrite("fl_run_x", 0, extra, META)]))
            await views.wait_for(journal.head)
            assert len(await all_runs(views)) == 2

    asyncio.run(main())
