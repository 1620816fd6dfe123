"""The views over a journal on disk: fresh, disposable, and never silently wrong."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from refold.journal import events as e
from refold.journal.envelope import Recorded
from refold.journal.journal import Commit, NewEvent, StreamWrite
from refold.journal.sqlite_file import JOURNAL_FILE
from refold.projections import projector as projector_module
from refold.projections import views_file
from refold.projections.built_in import BUILT_IN
from refold.projections.errors import (
    StaleViewsError,
    UnknownProjectionError,
    ViewsBusyError,
    ViewsFailedError,
)
from refold.projections.projection import Statement, Table
from refold.projections.runs_projection import RunsProjection
from refold.projections.views import open_views
from refold.projections.views_file import VIEWS_FILE, rebuild_lock
from tests.support.journal_kit import META, NEW_IDS, opened
from tests.support.projection_kit import STARTED, new_run, node_failed, run_commits, succeeded
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

FAILED = (STARTED, succeeded("n1"), node_failed("n2"), e.RunFailed(code="http_error", node="n2"))


def test_a_list_shows_everything_that_was_durable_when_it_was_asked_for(tmp_path: Path) -> None:
    """Clients read what they have just written."""

    async def main() -> None:
        async with served(tmp_path) as (journal, views):
            await add_workflow(journal, webhook_hash="hash")
            completed = await add_runs(journal, 3)
            failed = await add_runs(journal, 2, facts=FAILED)
            await views.wait_for(journal.head)
            assert views.position == journal.head
            assert (views.is_caught_up, views.fault) == (True, "")
            rows = await all_runs(views)
            assert [row.run_id for row in rows] == [*reversed(failed), *reversed(completed)]
            assert rows[0].failed_node == "n2"
            count = await views.count_runs(tenant="acme", workflow=WORKFLOW, status="failed")
            assert count == 2
            newest = await views.newest_runs(WORKFLOW, journal.head, 2)
            assert newest == rows[:2]
            before_end = await views.newest_runs(WORKFLOW, rows[0].ended_position - 1, 1)
            assert (before_end[0].status, before_end[0].ended_at) == ("running", 0)
            assert [row.workflow_id for row in await views.workflows("acme")] == [WORKFLOW]
            assert await views.workflows("acme", offset=1, limit=5) == []
            assert await views.workflows("other") == []
            assert await views.count_workflows("acme") == 1
            assert await views.find_webhook("hash") == WORKFLOW
            assert await views.find_webhook("") is None
            with pytest.raises(UnknownProjectionError, match="known are runs, workflows"):
                await views.digest("nothing")

    asyncio.run(main())
    names = {thread.name for thread in threading.enumerate()}
    assert "projector" not in names


def test_a_position_that_does_not_come_is_refused_in_time(tmp_path: Path) -> None:
    """A reader gets an honest refusal instead of an old list or no answer."""

    async def main() -> None:
        async with served(tmp_path) as (journal, views):
            with pytest.raises(StaleViewsError) as caught:
                await views.wait_for(journal.head + 1, seconds=0.01)
            assert caught.value.code == "overloaded"
            assert (caught.value.wanted, caught.value.reached) == (2, 1)

    asyncio.run(main())


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


def test_views_go_on_from_their_checkpoint(tmp_path: Path) -> None:
    """A restart reads what is new, not the whole journal."""
    seen: list[int] = []

    class Watching(RunsProjection):
        def fold(self, event: Recorded) -> Sequence[Statement]:
            seen.append(event.position)
            return super().fold(event)

    async def main() -> None:
        async with opened(tmp_path) as journal:
            async with viewed(tmp_path, journal) as views:
                await add_runs(journal, 5)
                await views.wait_for(journal.head)
            checkpoint = journal.head
            await add_runs(journal, 1)
            async with viewed(tmp_path, journal, projections=[Watching()]) as views:
                await views.wait_for(journal.head)
            assert seen == list(range(checkpoint + 1, journal.head + 1))

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


def test_a_hole_in_the_journals_file_stops_the_projector_with_an_alarm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is skipped: views that miss an event would be wrong for ever."""
    other = tmp_path / "other"
    other.mkdir()

    async def main() -> None:
        async with opened(tmp_path) as journal:
            await add_runs(journal, 4)
            await asyncio.to_thread(_copy_with_hole, tmp_path, other, 11)
            async with open_views(other, journal, other / JOURNAL_FILE) as views:
                with pytest.raises(StaleViewsError, match="goes on at position 12 where 11"):
                    # Whoever waits hears of it at once.
                    async with asyncio.timeout(10):
                        await views.wait_for(journal.head, seconds=60)
                assert views.position == 10
                assert not views.is_caught_up
                # Later events do not get past it.
                await add_runs(journal, 1)
                with pytest.raises(StaleViewsError):
                    await views.wait_for(journal.head)
                assert views.position == 10
                assert len(await all_runs(views)) == 2

    asyncio.run(main())
    alarms = [r for r in caplog.records if r.levelno == logging.CRITICAL]
    assert len(alarms) == 1
    assert "stopped at position 10" in alarms[0].getMessage()


def _copy_with_hole(source: Path, target: Path, position: int) -> None:
    with (
        closing(sqlite3.connect(source / JOURNAL_FILE)) as journal,
        closing(sqlite3.connect(target / JOURNAL_FILE)) as copy,
    ):
        journal.backup(copy)
    change(
        target,
        f"DROP TRIGGER event_no_delete; DELETE FROM event WHERE position = {position}",
        JOURNAL_FILE,
    )


def test_a_feed_that_is_too_fast_or_misses_a_group_is_replaced_by_the_file(
    tmp_path: Path,
) -> None:
    """Memory is bounded, and a hole in the feed is no hole in the views."""

    async def main() -> None:
        async with served(tmp_path, queued_max=3) as (journal, views):
            await views.wait_for(journal.head)
            await add_runs(journal, 29)
            first, rest = run_commits(new_run(), WORKFLOW)
            await journal.append(first)
            await views.wait_for(journal.head)
            # A group that is larger than the queue, with nothing after it.
            await journal.append(rest)
            await views.wait_for(journal.head)
            assert len(await all_runs(views)) == 30
            # As if a group had never been heard of.
            end = journal.subscribe(views.projector.offer)
            await add_runs(journal, 1)
            end()
            await views.wait_for(journal.head)
            events = await journal.read_all(journal.head - 1)
            hole = msgspec.structs.replace(events[-1], position=journal.head + 7)
            views.projector.offer([hole])
            await add_runs(journal, 2)
            await views.wait_for(journal.head)
            assert len(await all_runs(views)) == 33
            assert views.fault == ""

    asyncio.run(main())


class _Poisoned:
    """A projection whose fold does not take every event."""

    name = "poisoned"
    version = 1
    tables = (Table("seen", "position", ("CREATE TABLE seen_{g} (position INTEGER) STRICT",)),)

    def fold(self, event: Recorded) -> Sequence[Statement]:
        """Return what an event changes, once in a while."""
        if isinstance(event.facts, e.RunCompleted):
            raise ValueError("this fold does not expect an end")
        return (Statement("INSERT INTO seen_{g} (position) VALUES (?)", (event.position,)),)


def test_a_fold_that_raises_stops_the_projector_and_keeps_nothing_of_its_group(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows and checkpoint are one transaction, so a projection is never half-way."""

    async def main() -> None:
        async with opened(tmp_path) as journal:
            await add_runs(journal, 1)
            projections = (*BUILT_IN, _Poisoned())
            async with viewed(tmp_path, journal, projections=projections) as views:
                with pytest.raises(StaleViewsError, match="does not expect an end"):
                    await views.wait_for(journal.head)
                assert await all_runs(views) == []
        assert query(tmp_path, "SELECT count(*) FROM seen") == [(0,)]
        assert set(query(tmp_path, "SELECT position FROM projection")) == {(0,)}

    asyncio.run(main())
    assert "Traceback" in caplog.text


def test_a_file_damaged_while_it_is_in_use_stops_the_projector_and_the_next_start_mends_it(
    tmp_path: Path,
) -> None:
    """An operator restarts; nobody has to know which file to delete."""

    async def main() -> None:
        async with opened(tmp_path) as journal:
            async with viewed(tmp_path, journal) as views:
                await add_bulk(journal, 4, 250)
                await views.wait_for(journal.head)
                await asyncio.to_thread(_scribble, tmp_path / VIEWS_FILE)
                await add_runs(journal, 1)
                with pytest.raises(StaleViewsError, match="a restart makes it anew"):
                    await views.wait_for(journal.head)
            assert not (tmp_path / VIEWS_FILE).exists()
            async with viewed(tmp_path, journal) as views:
                await views.wait_for(journal.head)
                assert len(await all_runs(views)) == 2

    asyncio.run(main())


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


def test_a_lock_that_is_held_too_long_is_waited_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A passing failure must not need a restart."""
    monkeypatch.setattr(views_file, "BUSY_SECONDS", 0.01)
    monkeypatch.setattr(projector_module, "RETRY_SECONDS", 0.01)

    async def main() -> None:
        async with served(tmp_path) as (journal, views):
            await views.wait_for(journal.head)
            with closing(sqlite3.connect(tmp_path / VIEWS_FILE)) as other:
                other.execute("BEGIN IMMEDIATE")
                await add_runs(journal, 1)
                with pytest.raises(StaleViewsError, match="locked"):
                    await views.wait_for(journal.head, seconds=0.2)
                assert not views.is_caught_up
                other.rollback()
            await views.wait_for(journal.head)
            assert (views.fault, views.is_caught_up) == ("", True)
            assert len(await all_runs(views)) == 1

    asyncio.run(main())


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
