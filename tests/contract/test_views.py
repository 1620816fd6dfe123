"""The views over a journal on disk: fresh, complete, and stopped rather than wrong."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path

import msgspec
import pytest

from refold.journal import events as e
from refold.journal.envelope import Recorded
from refold.journal.errors import CorruptStoreError, StoreError, StoreFailedError
from refold.journal.sqlite_file import JOURNAL_FILE
from refold.projections import projector as projector_module
from refold.projections import sqlite_writes
from refold.projections.built_in import BUILT_IN
from refold.projections.errors import (
    NotStoppedError,
    StaleViewsError,
    UnknownProjectionError,
)
from refold.projections.journal_file import JournalFile, open_journal_file
from refold.projections.projection import Statement, Table
from refold.projections.run_counts import count_runs
from refold.projections.run_lists import RunFilter, list_runs
from refold.projections.runs_projection import RunsProjection
from refold.projections.views import open_views
from refold.projections.views_file import VIEWS_FILE
from tests.support.journal_kit import opened
from tests.support.projection_kit import (
    FAILED,
    new_run,
    run_commits,
)
from tests.support.views_kit import (
    WORKFLOW,
    add_runs,
    add_workflow,
    all_runs,
    change,
    query,
    served,
    viewed,
)


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
            wanted = RunFilter(tenant="acme", workflow=WORKFLOW)
            count = await count_runs(views, msgspec.structs.replace(wanted, status="failed"))
            assert count == 2
            assert await list_runs(views, wanted, 2) == rows[:2]
            past = msgspec.structs.replace(wanted, at_position=rows[0].ended_position - 1)
            before_end = await list_runs(views, past, 1)
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
            await views.wait_for(journal.head)
            with pytest.raises(StaleViewsError) as caught:
                await views.wait_for(journal.head + 1, seconds=0.01)
            assert caught.value.code == "overloaded"
            assert (caught.value.wanted, caught.value.reached) == (2, 1)

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
            async with viewed(tmp_path, journal, projections=[Watching()]) as views:
                await add_runs(journal, 5)
                await views.wait_for(journal.head)
            checkpoint = journal.head
            seen.clear()
            await add_runs(journal, 1)
            async with viewed(tmp_path, journal, projections=[Watching()]) as views:
                await views.wait_for(journal.head)
            assert seen == list(range(checkpoint + 1, journal.head + 1))

    asyncio.run(main())


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
            # Events that follow a group which was never heard of, or have a hole among them.
            newest = (await journal.read_all(journal.head - 1))[0]
            for missing in ([7], [1, 3]):
                views.projector.offer(
                    [msgspec.structs.replace(newest, position=journal.head + n) for n in missing]
                )
                with pytest.raises(StaleViewsError):
                    await views.wait_for(journal.head + 1, seconds=0.05)
            # What comes twice is taken once.
            views.projector.offer([newest])
            await add_runs(journal, 2)
            await views.wait_for(journal.head)
            assert len(await all_runs(views)) == 32
            assert views.fault == ""

    asyncio.run(main())


class _Poisoned:
    """A projection whose fold does not take every event."""

    is_mended = False

    name = "poisoned"
    version = 1
    events = e.CATALOGUE
    views = ()
    tables = (Table("seen", "position", ("CREATE TABLE seen_{g} (position INTEGER) STRICT",)),)

    def fold(self, event: Recorded) -> Sequence[Statement]:
        """Return what an event changes, once in a while."""
        if isinstance(event.facts, e.RunCompleted) and not self.is_mended:
            raise ValueError("this fold does not expect an end, with a secret in it")
        return (Statement("INSERT INTO seen_{g} (position) VALUES (?)", (event.position,)),)


def test_a_poison_event_stops_its_projection_alone_and_it_can_be_retried(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Lists of other projections go on, and nobody's data is told in the reason."""
    poisoned = _Poisoned()

    async def main() -> None:
        async with opened(tmp_path) as journal:
            await add_runs(journal, 1)
            projections = (*BUILT_IN, poisoned)
            async with viewed(tmp_path, journal, projections=projections) as views:
                await views.wait_for(journal.head)
                assert len(await all_runs(views)) == 1
                assert "poisoned stopped: run.completed at position 6" in views.fault
                with pytest.raises(StaleViewsError, match="poisoned stopped"):
                    await views.select("SELECT * FROM seen", (), of="poisoned")
                assert query(tmp_path, "SELECT max(position) FROM seen") == [(5,)]
                (status,) = (s for s in views.status() if s.name == "poisoned")
                assert (status.state, status.position, status.lag(6)) == ("stopped", 5, 1)
                assert status.fault is not None
                assert (status.fault.position, status.fault.type) == (6, "run.completed")
                assert status.fault.message.startswith("ValueError at ")
                await add_runs(journal, 2)
                await views.wait_for(journal.head)
                with pytest.raises(UnknownProjectionError):
                    views.upkeep.retry("nope")
                with pytest.raises(NotStoppedError):
                    views.upkeep.retry("runs")
                poisoned.is_mended = True
                views.upkeep.retry("poisoned")
                seen: list[object] = []
                while not seen:
                    with contextlib.suppress(StaleViewsError):
                        await views.wait_for(journal.head)
                        seen = await views.select("SELECT count(*) FROM seen", (), of="poisoned")
                assert seen == [(journal.head,)]
                assert views.fault == ""

    asyncio.run(main())
    assert "Traceback" not in caplog.text
    assert "a secret in it" not in caplog.text


def test_a_lock_that_is_held_too_long_is_waited_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A passing failure must not need a restart."""
    monkeypatch.setattr(sqlite_writes, "BUSY_SECONDS", 0.01)
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


@pytest.mark.parametrize("error", [StoreFailedError, CorruptStoreError])
def test_a_journal_that_cannot_be_read_for_a_moment_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[StoreError]
) -> None:
    """SQLite takes a page that the disk does not give for damage: it is no hole in the journal."""
    monkeypatch.setattr(projector_module, "RETRY_SECONDS", 0.01)
    is_refusing = threading.Event()

    def refusing(path: Path) -> AbstractContextManager[JournalFile]:
        if is_refusing.is_set():
            raise error("the disk does not give it")
        return open_journal_file(path)

    monkeypatch.setattr(projector_module, "open_journal_file", refusing)

    async def main() -> None:
        # With a place for one event in memory, the rest is read from the file.
        async with served(tmp_path, queued_max=1) as (journal, views):
            await views.wait_for(journal.head)
            is_refusing.set()
            await add_runs(journal, 3)
            told = ""
            # What came in memory is applied first, and while that goes on nothing is amiss.
            while "does not give" not in told:
                with pytest.raises(StaleViewsError) as caught:
                    await views.wait_for(journal.head, seconds=0.1)
                told = str(caught.value)
            is_refusing.clear()
            await views.wait_for(journal.head)
            assert (views.fault, views.is_caught_up) == ("", True)
            assert len(await all_runs(views)) == 3

    asyncio.run(main())
