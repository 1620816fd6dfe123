"""`refold rebuild`: a new generation grows beside the live one and takes over, or is nothing."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from refold.journal.journal import Commit, NewEvent, StreamWrite
from refold.journal.sqlite_file import JOURNAL_FILE
from refold.projections import rebuild as rebuilding
from refold.projections.built_in import BUILT_IN
from refold.projections.errors import (
    GapError,
    NothingKeptError,
    ProjectionError,
    UnknownProjectionError,
    ViewsBusyError,
)
from refold.projections.rebuild import Rebuilt, rebuild
from refold.projections.views_file import VIEWS_FILE, rebuild_lock
from tests.support.journal_kit import META, NEW_IDS, opened
from tests.support.projection_kit import STARTED
from tests.support.views_kit import (
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

LIVE_GENERATIONS = "SELECT DISTINCT generation FROM projection WHERE state = 'live'"
KILLED_HALF_WAY = """
import os, signal, sys
from pathlib import Path
from refold.projections.rebuild import rebuild
rebuild(Path(sys.argv[1]), report=lambda position, head: os.kill(os.getpid(), signal.SIGKILL))
"""


def command(*arguments: str, data: Path) -> subprocess.CompletedProcess[str]:
    """Run the command as an operator would, its output piped."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("REFOLD_")}
    refold = str(Path(sys.executable).with_name("refold"))
    return subprocess.run(
        [refold, "rebuild", *arguments, "--data", str(data)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def filled(directory: Path, *, bulk: int = 0) -> dict[str, str]:
    """Leave a journal and its views behind; return their digests."""

    async def main() -> dict[str, str]:
        async with served(directory) as (journal, views):
            await add_workflow(journal)
            await add_runs(journal, 10)
            await add_bulk(journal, bulk, 200)
            await views.wait_for(journal.head)
            return await digests(views)

    return asyncio.run(main())


def tables(directory: Path) -> set[object]:
    """Name the tables of rows."""
    rows = query(directory, "SELECT name FROM sqlite_master WHERE type = 'table'")
    return {row[0] for row in rows} - {"meta", "projection"}


def tallied(directory: Path) -> int:
    """Count the note of how far the tallies are: when they move on is up to the entries' hashes."""
    return len(query(directory, "SELECT 1 FROM tallied_2"))


def tables_of(generation: int) -> set[str]:
    """Name the tables that every projection has in a generation."""
    return {f"{table.name}_{generation}" for made in BUILT_IN for table in made.tables}


def test_a_rebuilt_view_is_the_live_one_and_the_old_is_kept_once(tmp_path: Path) -> None:
    """It is the proof that the rows depend on nothing but the journal."""
    before = filled(tmp_path)
    made = rebuild(tmp_path)
    assert {row.name: row.digest for row in made} == before
    assert {(row.generation, row.position) for row in made} == {(2, 53)}
    rows = {row.name: row.rows for row in made if row.rows}
    assert rows == {"runs": 10 + 1 + 20 + tallied(tmp_path), "workflows": 1}
    assert tables(tmp_path) == tables_of(1) | tables_of(2)
    assert [row.name for row in rebuild(tmp_path, ["runs"])] == ["runs"]
    (runs,) = [made.tables for made in BUILT_IN if made.name == "runs"]
    gone, come = ({f"{table.name}_{number}" for table in runs} for number in (1, 3))
    assert tables(tmp_path) == tables_of(1) - gone | tables_of(2) | come


def test_wrong_rows_are_mended_by_a_rebuild(tmp_path: Path) -> None:
    """It is what an operator does who does not trust the views."""
    before = filled(tmp_path)
    change(tmp_path, "UPDATE run_1 SET status = 'failed'")
    assert {row.name: row.digest for row in rebuild(tmp_path)} == before


def test_a_rebuild_makes_the_file_if_there_is_none(tmp_path: Path) -> None:
    """It needs the journal and nothing else, and no running service."""
    before = filled(tmp_path)
    (tmp_path / VIEWS_FILE).unlink()
    assert {row.name: row.digest for row in rebuild(tmp_path)} == before


def test_a_rebuild_while_sixteen_tasks_append_ends_equal(tmp_path: Path) -> None:
    """Reads stay fresh through it, and the flip is seen by nobody."""

    async def main() -> None:
        async with served(tmp_path) as (journal, views):
            await add_bulk(journal, 30, 200)
            stop = asyncio.Event()
            shown: list[int] = []

            async def append() -> int:
                made = 0
                while not stop.is_set():
                    await add_runs(journal, 1)
                    made += 1
                    await views.wait_for(journal.head)  # as clients look for what they made
                return made

            async def read() -> None:
                while not stop.is_set():
                    await views.wait_for(journal.head)
                    shown.append(len(await all_runs(views)))

            tasks = [asyncio.ensure_future(append()) for _ in range(16)]
            reader = asyncio.ensure_future(read())
            try:
                for generation in (2, 3):
                    made = await asyncio.to_thread(rebuild, tmp_path)
                    assert {row.generation for row in made} == {generation}
            finally:
                stop.set()
                total = sum(await asyncio.gather(*tasks))
                await reader
            await views.wait_for(journal.head)
            assert len(await all_runs(views)) == total + 1
            assert shown == sorted(shown)
            assert shown[-1] > shown[0]
            assert views.fault == ""
            live = await digests(views)
            assert tables(tmp_path) == tables_of(2) | tables_of(3)
            assert {row.name: row.digest for row in rebuild(tmp_path)} == live

    asyncio.run(main())


def test_the_live_projector_writes_between_the_steps_of_a_rebuild(tmp_path: Path) -> None:
    """A rebuild may take minutes; nobody waits for all of it."""

    async def main() -> None:
        async with served(tmp_path) as (journal, views):
            await add_bulk(journal, 40, 200)
            await views.wait_for(journal.head)
            go_on, paused = threading.Event(), asyncio.Event()
            loop = asyncio.get_running_loop()

            def report(position: int, head: int) -> None:
                assert 0 < position <= head
                loop.call_soon_threadsafe(paused.set)
                assert go_on.wait(10)

            task = asyncio.ensure_future(asyncio.to_thread(rebuild, tmp_path, report=report))
            await paused.wait()
            await add_runs(journal, 3)
            await views.wait_for(journal.head)
            assert len(await all_runs(views)) == 4
            with pytest.raises(ViewsBusyError, match="another process is rebuilding"):
                rebuild(tmp_path)
            go_on.set()
            made = await task
            assert made[0].position == journal.head
            assert {row.name: row.digest for row in made} == await digests(views)

    asyncio.run(main())


def test_a_rebuild_that_is_killed_changes_nothing_and_the_next_goes_on(
    tmp_path: Path,
) -> None:
    """The generation that was begun stays, and the next rebuild goes on with it."""
    before = filled(tmp_path, bulk=40)
    positions: list[object] = []

    def kill() -> None:
        done = subprocess.run([sys.executable, "-c", KILLED_HALF_WAY, str(tmp_path)], check=False)
        assert done.returncode == -signal.SIGKILL
        begun = query(
            tmp_path, "SELECT generation, position FROM projection WHERE state = 'growing'"
        )
        assert len(begun) == len(BUILT_IN)
        positions.append(begun[0][1])
        assert set(begun) == {(2, positions[-1])}

    kill()
    with closing(sqlite3.connect(tmp_path / VIEWS_FILE)) as connection:
        assert connection.execute("SELECT count(*) FROM run").fetchone() == (11,)
    kill()
    assert positions == [2000, 4000]
    assert {row.name: row.digest for row in rebuild(tmp_path)} == before
    assert tables(tmp_path) == tables_of(1) | tables_of(2)


def test_a_service_goes_on_with_a_rebuild_that_was_killed(tmp_path: Path) -> None:
    """Nobody has to remember that one was at work."""
    before = filled(tmp_path, bulk=40)
    done = subprocess.run([sys.executable, "-c", KILLED_HALF_WAY, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL

    async def main() -> None:
        async with served(tmp_path) as (journal, views):
            await views.wait_for(journal.head)
            assert await digests(views) == before
            while views.upkeep.rebuilds.names:
                await add_runs(journal, 1)
            await views.wait_for(journal.head)
            live = await digests(views)
        assert set(query(tmp_path, LIVE_GENERATIONS)) == {(2,)}
        assert {row.name: row.digest for row in rebuild(tmp_path)} == live

    asyncio.run(main())


def test_a_start_while_a_rebuild_is_at_work_does_not_disturb_it(tmp_path: Path) -> None:
    """The service may be restarted at any time."""
    before = filled(tmp_path, bulk=40)
    made: list[Rebuilt] = []

    async def main() -> None:
        async with opened(tmp_path) as journal:
            go_on, paused = threading.Event(), asyncio.Event()
            loop = asyncio.get_running_loop()

            def report(position: int, head: int) -> None:
                del position, head
                loop.call_soon_threadsafe(paused.set)
                assert go_on.wait(10)

            task = asyncio.ensure_future(asyncio.to_thread(rebuild, tmp_path, report=report))
            await paused.wait()
            async with viewed(tmp_path, journal) as views:
                await views.wait_for(journal.head)
                assert await digests(views) == before
                go_on.set()
                made.extend(await task)
                assert await digests(views) == before

    asyncio.run(main())
    assert {row.name: row.digest for row in made} == before


def test_what_cannot_be_rebuilt_is_told_and_left_alone(tmp_path: Path) -> None:
    """Each refusal names its reason, and the live rows stay."""
    before = filled(tmp_path)
    with pytest.raises(UnknownProjectionError, match=r"'nope'; known are runs, workflows"):
        rebuild(tmp_path, ["nope"])
    with pytest.raises(NothingKeptError, match="no kept rows of version"):
        rebuild(tmp_path, roll_back=True)
    change(
        tmp_path,
        "DROP TRIGGER event_no_delete; DELETE FROM event WHERE position = 20",
        JOURNAL_FILE,
    )
    with pytest.raises(GapError):
        rebuild(tmp_path)
    assert tables(tmp_path) >= {"run_1", "log_1", "workflow_1"}
    assert query(tmp_path, "SELECT count(*) FROM run") == [(11,)]
    assert query(tmp_path, LIVE_GENERATIONS) == [(1,)]
    assert len(before) == len(BUILT_IN)


def test_transactions_get_shorter_on_a_slow_machine_and_all_events_are_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the size of its steps, a rebuild ends equal."""
    before = filled(tmp_path, bulk=60)
    positions: list[int] = []
    monkeypatch.setattr(rebuilding, "WRITE_SECONDS", 0.0)
    made = rebuild(tmp_path, report=lambda position, _: positions.append(position))
    assert {row.name: row.digest for row in made} == before
    assert positions[0] == 2000
    assert positions[1] - positions[0] == 1000
    assert {b - a for a, b in pairwise(positions[3:])} == {250}


def test_the_command_works_beside_a_service_and_prints_rows(tmp_path: Path) -> None:
    """Standard output is the result alone, so a script can compare two of them."""

    async def main() -> None:
        async with served(tmp_path) as (journal, views):
            await add_runs(journal, 3)
            done = await asyncio.to_thread(command, "runs", "--floor", data=tmp_path)
            assert (done.returncode, done.stderr) == (0, "")
            await views.wait_for(journal.head)
            first, second, last, floor = done.stdout.splitlines()
            assert first == f"runs: {9 + tallied(tmp_path)} rows at position 16, live as 2"
            assert second == f"  digest {await views.digest('runs')}"
            assert last.startswith("16 events in ")
            assert re.fullmatch(r"floor .* s: .* times as long, .* times the processor time", floor)
            await add_runs(journal, 1)
            await views.wait_for(journal.head)
            assert len(await all_runs(views)) == 4

    asyncio.run(main())


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(("nope",), "no projection 'nope'"), ((), "there is no journal at")],
)
def test_the_command_tells_errors_in_one_line_with_exit_code_1(
    tmp_path: Path, arguments: Sequence[str], word: str
) -> None:
    """Nothing is written where there is no journal."""
    done = command(*arguments, data=tmp_path / "none")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("refold: ")
    assert done.stderr.count("\n") == 1
    assert word in done.stderr
    assert not (tmp_path / "none").exists()


def test_each_error_has_a_stable_code(tmp_path: Path) -> None:
    """The HTTP room and scripts go by codes, not by sentences."""
    codes = {error.__name__: error.code for error in ProjectionError.__subclasses__()}
    assert codes == {
        "StaleViewsError": "overloaded",
        "ViewsFailedError": "overloaded",
        "ViewsBusyError": "views_busy",
        "ViewsReplacedError": "views_replaced",
        "UnknownProjectionError": "unknown_projection",
        "ProjectionRefusedError": "projection_refused",
        "ChangedFoldError": "changed_fold",
        "PoisonEventError": "poison_event",
        "FoldTooSlowError": "fold_too_slow",
        "NothingKeptError": "nothing_kept",
        "NotStoppedError": "not_stopped",
        "SearchTooSlowError": "search_too_broad",
        "ExportRefusedError": "export_refused",
        "ExportFailedError": "export_failed",
        "GapError": "gap",
    }
    with rebuild_lock(tmp_path), pytest.raises(ViewsBusyError), rebuild_lock(tmp_path):
        pass
    names = [projection.name for projection in BUILT_IN]
    assert sorted({"event_triggers", "runs", "workflows", *names}) == sorted(names)


def test_a_journal_that_grows_during_the_flip_is_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed after the last page and before the flip is in the new rows."""
    monkeypatch.setattr(rebuilding, "_FLIP_MAX", 10)

    async def main() -> None:
        async with served(tmp_path) as (journal, views):
            await add_bulk(journal, 3, 200)
            late = [NewEvent(NEW_IDS.new(), STARTED) for _ in range(150)]
            loop = asyncio.get_running_loop()
            appended: list[int] = []

            def report(position: int, head: int) -> None:
                del head
                if not appended:
                    appended.append(position)
                    write = StreamWrite("fl_run_late", 0, late, META)
                    appending = journal.append(Commit([write]))
                    asyncio.run_coroutine_threadsafe(appending, loop).result(10)

            made = await asyncio.to_thread(rebuild, tmp_path, report=report)
            await views.wait_for(journal.head)
            assert {row.position for row in made} == {journal.head}
            assert {row.name: row.digest for row in made} == await digests(views)

    asyncio.run(main())
