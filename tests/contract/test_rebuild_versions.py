"""A way forward and a way back: versions prepared beside a service, and rows that were kept."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from refold.journal.sqlite_file import JOURNAL_FILE
from refold.projections import applying
from refold.projections.applying import Applier
from refold.projections.built_in import BUILT_IN
from refold.projections.checking import check, check_one
from refold.projections.errors import NothingKeptError, ViewsReplacedError
from refold.projections.generations import create_generation
from refold.projections.journal_file import open_journal_file
from refold.projections.projection import Projection
from refold.projections.rebuild import Build, rebuild
from refold.projections.runs_projection import RunsProjection
from refold.projections.sqlite_writes import transaction
from refold.projections.views_file import VIEWS_FILE, connect
from tests.support.misbehaving import Counts
from tests.support.views_kit import add_bulk, add_runs, all_runs, digests, query, served

STATES = "SELECT generation, version, state FROM projection WHERE name = 'runs' ORDER BY generation"
V: int = RunsProjection.version


class NextRuns(RunsProjection):
    """The version of the next release."""

    version = V + 1


# Where a class is defined tells a built-in projection, whose code has no fingerprint.
NextRuns.__module__ = RunsProjection.__module__
NEXT: tuple[Projection, ...] = (NextRuns(), *BUILT_IN[1:])


def test_one_goes_back_to_the_rows_before_the_last_rebuild_without_a_gap(tmp_path: Path) -> None:
    """They are brought to the journal's head first, so nothing that was shown is missing."""

    async def main() -> None:
        async with served(tmp_path) as (journal, views):
            await add_runs(journal, 5)
            await views.wait_for(journal.head)
            with pytest.raises(NothingKeptError):
                await asyncio.to_thread(rebuild, tmp_path, ["runs"], roll_back=True)
            await asyncio.to_thread(rebuild, tmp_path, ["runs"])
            await add_runs(journal, 5)
            await views.wait_for(journal.head)
            (made,) = await asyncio.to_thread(rebuild, tmp_path, ["runs"], roll_back=True)
            assert (made.generation, made.is_live, made.position) == (1, True, journal.head)
            assert query(tmp_path, STATES) == [(1, V, "live"), (2, V, "kept")]
            await add_runs(journal, 1)
            await views.wait_for(journal.head)
            assert len(await all_runs(views)) == 11
            assert views.fault == ""

    asyncio.run(main())


def test_the_next_release_is_prepared_beside_a_service_and_taken_up_by_its_restart(
    tmp_path: Path,
) -> None:
    """The running one goes on with its own version; the start of the next makes nothing anew."""

    async def main() -> None:
        async with served(tmp_path) as (journal, views):
            await add_runs(journal, 5)
            (made,) = await asyncio.to_thread(rebuild, tmp_path, ["runs"], projections=NEXT)
            assert (made.version, made.is_live) == (V + 1, False)
            await add_runs(journal, 1)
            await views.wait_for(journal.head)
            assert len(await all_runs(views)) == 6
            before = await digests(views)
        async with served(tmp_path, projections=NEXT) as (journal, views):
            await views.wait_for(journal.head)
            assert await views.digest("runs") == before["runs"]
        assert query(tmp_path, STATES) == [(1, V, "kept"), (2, V + 1, "live")]
        async with served(tmp_path) as (journal, views):
            await add_runs(journal, 1)
            await views.wait_for(journal.head)
            assert len(await all_runs(views)) == 7
        assert query(tmp_path, STATES) == [(1, V, "live"), (2, V + 1, "kept")]

    asyncio.run(main())


def test_a_release_that_was_not_prepared_leaves_other_lists_alone_while_it_catches_up(
    tmp_path: Path,
) -> None:
    """Only the list that is made anew waits."""

    async def main() -> None:
        async with served(tmp_path) as (journal, views):
            await add_bulk(journal, 30, 200)
            await views.wait_for(journal.head)
        async with served(tmp_path, projections=NEXT) as (journal, views):
            await views.wait_for(journal.head)
            positions = {status.name: status.position for status in views.status()}
            assert positions["workflows"] == journal.head
            assert await views.workflows("acme") == []
            while views.projector.left_out("runs"):
                await add_runs(journal, 1)
                await views.wait_for(journal.head)
            assert len(await all_runs(views)) >= 1
            assert views.fault == ""

    asyncio.run(main())


def test_statements_that_were_interrupted_on_a_busy_machine_are_applied_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page may take longer than one step may; only one event that does is at fault."""
    interrupted: list[bool] = []

    def once(applier: Applier) -> bool:
        del applier
        interrupted.append(True)
        return len(interrupted) == 1

    monkeypatch.setattr(Applier, "_is_too_slow", once)
    monkeypatch.setattr(applying, "_STEPS_BETWEEN", 1000)

    async def fill() -> None:
        async with served(tmp_path) as (journal, views):
            await add_bulk(journal, 20, 200)
            await views.wait_for(journal.head)

    asyncio.run(fill())
    seen: list[int] = []
    rebuild(tmp_path, ["counts"], projections=[Counts()], watch=seen.append)
    assert interrupted
    assert len(seen) > 4000, "some were folded a second time"
    assert query(tmp_path, "SELECT attempts FROM component_count") == [(4000,)]
    (found,) = check(tmp_path, ["counts"], projections=[Counts()])
    assert found.is_equal


def test_rows_are_folded_again_without_a_limit_to_statements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for a lock there, and there is no log to undo an interrupted statement by."""

    def always(applier: Applier) -> bool:
        del applier
        return True

    monkeypatch.setattr(Applier, "_is_too_slow", always)
    monkeypatch.setattr(applying, "_STEPS_BETWEEN", 1000)

    async def fill() -> None:
        async with served(tmp_path) as (journal, views):
            await add_bulk(journal, 20, 200)
            await views.wait_for(journal.head)

    asyncio.run(fill())
    seen: list[int] = []
    with open_journal_file(tmp_path / JOURNAL_FILE) as journal:
        found = check_one(tmp_path, BUILT_IN[0], journal, watch=seen.append)
    assert found is not None
    assert found.is_equal
    assert seen


def test_a_process_that_outlived_its_service_never_applies_events_a_second_time(
    tmp_path: Path,
) -> None:
    """The next one begins where the rows are; whoever finds them elsewhere lets go of them."""

    async def fill() -> None:
        async with served(tmp_path) as (journal, views):
            await add_runs(journal, 3)
            await views.wait_for(journal.head)

    asyncio.run(fill())
    path, counts = tmp_path / VIEWS_FILE, Counts()
    with (
        open_journal_file(tmp_path / JOURNAL_FILE) as journal,
        closing(connect(path)) as one,
        closing(connect(path)) as two,
    ):
        with transaction(one):
            row = create_generation(one, counts, state="live")
        old, new = (Build(each, path, [counts], [row], journal) for each in (one, two))
        page = journal.page(0, 100)
        new.step(page)
        with pytest.raises(ViewsReplacedError, match="wrote to the rows of projection counts"):
            old.step(page)
    assert query(tmp_path, "SELECT attempts FROM component_count") == [(6,)]
