"""The projections of developers, each in a process of its own: whatever one does, it does alone."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from refold.journal import events as e
from refold.journal.journal import Commit, NewEvent, StreamWrite
from refold.journal.sqlite_file import JOURNAL_FILE
from refold.journal.sqlite_store import SqliteJournal
from refold.projections import workers as workers_module
from refold.projections.checking import check
from refold.projections.errors import ProjectionRefusedError
from refold.projections.loading import find
from refold.projections.rebuild import rebuild
from refold.projections.status import ProjectionStatus
from refold.projections.views import Views, open_views
from tests.support import misbehaving
from tests.support.journal_kit import META, NEW_IDS, opened
from tests.support.views_kit import add_bulk, add_runs, all_runs, query

ROOT = Path(__file__).resolve().parents[2]
OURS = "tests.support.misbehaving"
MODULE = """
from refold.journal import events as e
from refold.projections.projection import Statement, Table

class Own:
    name, version = "own", {version}
    events = (e.RunCompleted,)
    tables = (Table("own_row", "position", ("CREATE TABLE own_row_{{g}} (position INTEGER)",)),)
    views = ()

    def fold(self, event):
        {comment}
        return (Statement("INSERT INTO own_row_{{g}} (position) VALUES (?)", ({value},)),)
"""


@pytest.fixture(autouse=True)
def _importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes find the projections of these tests."""
    places = [str(tmp_path / "code"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "code"), *sys.path])
    (tmp_path / "code").mkdir()


def write_own(directory: Path, value: str, *, version: int = 1, comment: str = "") -> None:
    """Write the module of a developer."""
    text = MODULE.format(version=version, value=value, comment=comment or "pass")
    (directory / "code" / "own_views.py").write_text(text, encoding="utf-8")
    # What this process has imported before must not stand for it.
    sys.modules.pop("own_views", None)
    importlib.invalidate_caches()


@asynccontextmanager
async def followed(
    directory: Path, journal: SqliteJournal, *references: str
) -> AsyncGenerator[Views]:
    """Open the views with projections of developers."""
    async with open_views(
        directory, journal, directory / JOURNAL_FILE, loaded=find(references)
    ) as views:
        yield views


async def until(
    views: Views, name: str, wanted: Callable[[ProjectionStatus], bool]
) -> ProjectionStatus:
    """Wait until a projection is as wanted."""
    found: list[ProjectionStatus] = []
    for _ in range(3000):
        found = [status for status in views.status() if status.name == name]
        if wanted(found[0]):
            return found[0]
        await asyncio.sleep(0.01)
    raise AssertionError(f"{found}")


async def caught_up(views: Views, journal: SqliteJournal, name: str) -> ProjectionStatus:
    """Wait until a projection is at the journal's head."""
    head = journal.head
    return await until(views, name, lambda s: s.position >= head and s.state == "live")


def stopped(status: ProjectionStatus) -> bool:
    """Tell a projection that stopped."""
    return status.state == "stopped"


def test_a_projection_follows_the_journal_live_through_restarts_and_a_killed_process(
    tmp_path: Path,
) -> None:
    """Its rows are those of a fold in one pass, and its SQL views show them."""

    async def main() -> None:
        async with opened(tmp_path) as journal:
            await add_runs(journal, 3)
            async with followed(tmp_path, journal, f"{OURS}:Counts") as views:
                status = await caught_up(views, journal, "counts")
                assert (status.version, status.lag(journal.head), status.fault) == (1, 0, None)
                assert status.source == f"{OURS}:Counts"
                await add_runs(journal, 2)
                await caught_up(views, journal, "counts")
                assert query(tmp_path, "SELECT * FROM busy_component") == [("text_transform", 10)]
                os.kill(views.upkeep.workers.pid("counts"), signal.SIGKILL)
                await add_runs(journal, 1)
                await caught_up(views, journal, "counts")
            await add_bulk(journal, 10, 200)
            async with followed(tmp_path, journal, f"{OURS}:Counts") as views:
                await caught_up(views, journal, "counts")
        (found,) = check(tmp_path, ["counts"], projections=[misbehaving.Counts()])
        assert found.is_equal
        assert query(tmp_path, "SELECT attempts FROM component_count") == [(12 + 2000,)]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("kind", "code", "message"),
    [
        ("Raises", "poison_event", "ValueError at misbehaving.py"),
        ("Loops", "fold_too_slow", "did not return within 1 s"),
        ("LoopsInSql", "poison_event", "interrupted"),
        ("WritesElsewhere", "projection_refused", "no such table: run_1"),
        ("Dies", "process_ended", "exit code 9"),
    ],
)
def test_what_one_projection_does_wrong_stops_it_alone_and_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    code: str,
    message: str,
) -> None:
    """The service goes on, and names the projection, the event and the reason, and no data."""
    # Statements have a limit of their own, which is shorter than that of a fold.
    monkeypatch.setattr(workers_module, "FOLD_SECONDS", 1.0 if kind == "Loops" else 10.0)
    monkeypatch.setattr(workers_module, "_PAUSE_SECONDS", 0.01)
    name = getattr(misbehaving, kind).name

    async def main() -> None:
        async with opened(tmp_path) as journal:
            await add_runs(journal, 1)
            head = journal.head
            wanted = [f"{OURS}:{kind}", f"{OURS}:Counts"]
            async with followed(tmp_path, journal, *wanted) as views:
                status = await until(views, name, stopped)
                assert status.fault is not None
                assert (status.fault.code, status.fault.position) == (code, head)
                assert message in status.fault.message
                assert misbehaving.SECRET not in status.fault.message
                await add_runs(journal, 2)
                await views.wait_for(journal.head)
                assert len(await all_runs(views)) == 3
                assert views.fault == ""
                await caught_up(views, journal, "counts")
                views.upkeep.retry(name)
                await until(views, name, lambda s: not stopped(s))
                await until(views, name, stopped)

    asyncio.run(main())
    assert f"projection {name} stopped, and the others go on" in caplog.text
    assert misbehaving.SECRET not in caplog.text


def test_a_projection_is_retried_with_the_code_that_was_mended_meanwhile(tmp_path: Path) -> None:
    """No restart of the service, and nothing lost: the rows go on where they stopped."""
    write_own(tmp_path, "1 // 0")

    async def main() -> None:
        async with opened(tmp_path) as journal:
            await add_runs(journal, 2)
            async with followed(tmp_path, journal, "own_views:Own") as views:
                status = await until(views, "own", stopped)
                assert status.fault is not None
                assert status.fault.message.startswith("ZeroDivisionError at own_views.py")
                write_own(tmp_path, "event.position", version=2)
                views.upkeep.retry("own")
                await caught_up(views, journal, "own")
                assert query(tmp_path, "SELECT * FROM own_row") == [(6,), (11,)]

    asyncio.run(main())


def test_a_fold_that_changed_without_a_new_version_is_refused_until_its_rows_are_made_anew(
    tmp_path: Path,
) -> None:
    """Rows of two folds would be of neither; comments may change."""
    write_own(tmp_path, "event.position")

    async def main() -> None:
        async with opened(tmp_path) as journal:
            await add_runs(journal, 2)
            async with followed(tmp_path, journal, "own_views:Own") as views:
                await caught_up(views, journal, "own")
                write_own(tmp_path, "event.position", comment="pass  # a comment")
                os.kill(views.upkeep.workers.pid("own"), signal.SIGKILL)
                await add_runs(journal, 1)
                await caught_up(views, journal, "own")
                write_own(tmp_path, "-event.position")
                os.kill(views.upkeep.workers.pid("own"), signal.SIGKILL)
                status = await until(views, "own", stopped)
                assert status.fault is not None
                assert status.fault.code == "changed_fold"
                assert "count the version up" in status.fault.message
                assert len(query(tmp_path, "SELECT * FROM own_row")) == 3
                views.upkeep.rebuild("own")
                await caught_up(views, journal, "own")
                assert query(tmp_path, "SELECT max(position) FROM own_row") == [(-6,)]

    asyncio.run(main())


def test_a_new_version_grows_beside_the_old_rows_and_the_old_version_takes_its_own_up_again(
    tmp_path: Path,
) -> None:
    """Whoever reads the file sees the old rows until the new ones are complete, and a way back."""

    async def main() -> None:
        async with opened(tmp_path) as journal:
            await add_bulk(journal, 30, 200)
            async with followed(tmp_path, journal, f"{OURS}:Counts") as views:
                await caught_up(views, journal, "counts")
            async with followed(tmp_path, journal, f"{OURS}:CountsAgain") as views:
                shown: set[object] = set()
                with contextlib.suppress(AssertionError):
                    while True:
                        shown |= set(query(tmp_path, "SELECT attempts FROM component_count"))
                        (status,) = (s for s in views.status() if s.name == "counts")
                        assert status.state != "live"
                        await add_runs(journal, 0)
                assert shown == {(6000,)}
            states = "SELECT version, state FROM projection WHERE name = 'counts' ORDER BY version"
            assert query(tmp_path, states) == [(1, "kept"), (2, "live")]
            await add_runs(journal, 1)
            async with followed(tmp_path, journal, f"{OURS}:Counts") as views:
                await caught_up(views, journal, "counts")
            assert query(tmp_path, states) == [(1, "live"), (2, "kept")]
            assert query(tmp_path, "SELECT attempts FROM component_count") == [(6002,)]
            assert query(tmp_path, "SELECT max(generation) FROM projection") == [(2,)]

    asyncio.run(main())


def test_two_versions_are_rebuilt_at_once_while_runs_come_in_and_nobody_fails(
    tmp_path: Path,
) -> None:
    """Each has a lock and a generation of its own; both flips are seen by no reader."""

    async def main() -> None:
        async with opened(tmp_path) as journal:
            await add_bulk(journal, 30, 200)
            async with followed(tmp_path, journal) as views:
                await views.wait_for(journal.head)
                versions = [misbehaving.Counts(), misbehaving.CountsAgain()]
                versions += [misbehaving.CountsOnceMore()]
                made = [
                    asyncio.ensure_future(
                        asyncio.to_thread(rebuild, tmp_path, ["counts"], projections=[version])
                    )
                    for version in versions
                ]
                total = 1
                while not all(task.done() for task in made):
                    await add_runs(journal, 1)
                    total += 1
                    await views.wait_for(journal.head)
                    assert len(await all_runs(views)) == total
                rows = [(await task)[0] for task in made]
                assert {row.version for row in rows} == {1, 2, 3}
                newest = max(rows, key=lambda row: row.position)
                live = query(
                    tmp_path, "SELECT position FROM projection WHERE name='counts' AND state='live'"
                )
                assert live == [(newest.position,)]

    asyncio.run(main())


def test_copied_bodies_are_forgotten_when_they_are_erased_and_rebuilt_rows_are_equal(
    tmp_path: Path,
) -> None:
    """An erasure reaches what a projection has copied, and a rebuild brings nothing back."""

    async def main() -> None:
        async with opened(tmp_path) as journal:
            (run, _) = await add_runs(journal, 2)
            async with followed(tmp_path, journal, f"{OURS}:Copies") as views:
                await caught_up(views, journal, "copies")
                rows = query(tmp_path, "SELECT * FROM copied_output")
                assert rows == [(4, b"{}"), (5, b"{}"), (9, b"{}"), (10, b"{}")]
                erased = e.PayloadErased(positions="4 5", reason="asked", target=run)
                write = StreamWrite("sys", 1, [NewEvent(NEW_IDS.new(), erased)], META)
                await journal.append(Commit([write], erased=[4, 5]))
                await caught_up(views, journal, "copies")
        assert query(tmp_path, "SELECT position FROM copied_output") == [(9,), (10,)]
        (found,) = check(tmp_path, ["copies"], projections=[misbehaving.Copies()])
        assert found.is_equal

    asyncio.run(main())
    with pytest.raises(ProjectionRefusedError, match=r"must want payload\.erased"):
        find([f"{OURS}:CopiesForEver"])


def test_a_worker_whose_views_are_lost_begins_again(tmp_path: Path) -> None:
    """The file is disposable for developers' projections too."""

    async def main() -> None:
        async with opened(tmp_path) as journal:
            await add_runs(journal, 2)
            async with followed(tmp_path, journal, f"{OURS}:Counts") as views:
                await caught_up(views, journal, "counts")
                (tmp_path / "views.db").unlink()
                await add_runs(journal, 1)
                await until(views, "runs", lambda s: views.projector.incarnation == 1)
                head = journal.head

                def is_there(status: ProjectionStatus) -> bool:
                    with contextlib.suppress(Exception):
                        found = query(tmp_path, "SELECT attempts FROM component_count")
                        return status.position == head and found == [(6,)]
                    return False

                await until(views, "counts", is_there)

    asyncio.run(main())
