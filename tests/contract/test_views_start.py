"""A start of the views: what it costs depends on no number of runs, and old rows go afterwards."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from refold.journal.journal import Commit
from refold.journal.sqlite_file import JOURNAL_FILE, open_writer
from refold.projections.built_in import BUILT_IN
from refold.projections.generations import (
    Generation,
    create_generation,
    drop_generation,
    drop_some,
    generations,
    give_up,
)
from refold.projections.projection import Projection
from refold.projections.runs_projection import RunsProjection
from refold.projections.sqlite_writes import transaction
from refold.projections.views_file import VIEWS_FILE, connect, make_ready
from tests.support.projection_kit import new_run, run_commits
from tests.support.views_kit import WORKFLOW, add_bulk, add_workflow, all_runs, query, served

STATES = "SELECT generation, state FROM projection WHERE name = 'runs' ORDER BY generation"
LOGS = "SELECT name FROM sqlite_master WHERE name IN ('log_1', 'log_2', 'log_3') ORDER BY name"
STEPS = 10


class Second(RunsProjection):
    """The version after the present one."""

    version = RunsProjection.version + 1


class Third(RunsProjection):
    """And the one after that."""

    version = RunsProjection.version + 2


# Where a class is defined tells a built-in projection, whose code has no fingerprint.
Second.__module__ = Third.__module__ = RunsProjection.__module__
SECOND: tuple[Projection, ...] = (Second(), *BUILT_IN[1:])
THIRD: tuple[Projection, ...] = (Third(), *BUILT_IN[1:])


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds that nobody tells of, for 20 seconds at most."""
    resting = threading.Event()
    for _ in range(2000):
        if holds():
            return
        resting.wait(0.01)
    raise AssertionError("it did not come to hold")


def twice_upgraded(directory: Path, commits: int) -> None:
    """Leave views behind of which a third version gives the first rows up."""

    async def main() -> None:
        async with served(directory) as (journal, views):
            await add_bulk(journal, commits, 200)
            await views.wait_for(journal.head, 20)
        async with served(directory, projections=SECOND) as (journal, views):
            await asyncio.to_thread(until, lambda: not views.projector.left_out("runs"))

    asyncio.run(main())


def counted(monkeypatch: pytest.MonkeyPatch, work: Callable[[], None]) -> int:
    """Return how many steps SQLite's machine makes while something works."""
    steps, genuine = 0, sqlite3.connect

    def step() -> int:
        nonlocal steps
        steps += STEPS
        return 0

    def connect(*some: Any, **named: Any) -> sqlite3.Connection:
        made: sqlite3.Connection = genuine(*some, **named)
        made.set_progress_handler(step, STEPS)
        return made

    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", connect)
        work()
    return steps


def test_a_start_of_the_next_version_costs_the_same_with_many_runs_as_with_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it gives up is deleted while it serves, and nothing is looked through."""
    found: list[int] = []
    for commits in (1, 40):
        directory = tmp_path / str(commits)
        directory.mkdir()
        twice_upgraded(directory, commits)
        path = directory / VIEWS_FILE

        def start(path: Path = path) -> None:
            make_ready(path, path.with_name(JOURNAL_FILE), THIRD, ())

        found.append(counted(monkeypatch, start))
        assert query(directory, STATES) == [(1, "leaving"), (2, "kept"), (3, "live")]
    assert found[0] > 0
    assert found[1] <= found[0] + 10 * STEPS, found


def test_a_start_costs_the_same_with_many_runs_as_with_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the journal the newest entries are checked, and of the views how far they are."""
    found: list[int] = []
    for runs in (400, 2000):
        directory = tmp_path / str(runs)
        directory.mkdir()
        asyncio.run(_filled(directory, runs))

        def start(directory: Path = directory) -> None:
            open_writer(directory / JOURNAL_FILE).close()
            make_ready(directory / VIEWS_FILE, directory / JOURNAL_FILE, BUILT_IN, ())

        found.append(counted(monkeypatch, start))
    assert found[0] > 0
    assert found[1] <= found[0] + 10 * STEPS, found


def test_rows_that_were_given_up_go_while_the_service_serves(tmp_path: Path) -> None:
    """Lists are there meanwhile, and at the end only what is shown and what one can go back to."""
    twice_upgraded(tmp_path, 40)

    async def main() -> None:
        async with served(tmp_path, projections=THIRD) as (journal, views):
            await views.wait_for(journal.head, 20)
            await asyncio.to_thread(until, lambda: len(query(tmp_path, STATES)) == 2)
            await asyncio.to_thread(until, lambda: not views.projector.left_out("runs"))
            assert len(await all_runs(views)) == 1

    asyncio.run(main())
    assert query(tmp_path, STATES) == [(2, "kept"), (3, "live")]
    assert query(tmp_path, LOGS) == [("log_2",), ("log_3",)]


def test_a_start_that_ended_while_rows_went_is_gone_on_with_by_the_next(tmp_path: Path) -> None:
    """Whatever was deleted of them by then, nobody has to know."""
    twice_upgraded(tmp_path, 40)
    make_ready(tmp_path / VIEWS_FILE, tmp_path / JOURNAL_FILE, THIRD, ())
    with closing(connect(tmp_path / VIEWS_FILE)) as connection:
        given_up = _rows(connection)[0]
        for _ in range(4):
            assert drop_some(connection, given_up)

    async def main() -> None:
        async with served(tmp_path, projections=THIRD):
            await asyncio.to_thread(until, lambda: len(query(tmp_path, STATES)) == 2)

    asyncio.run(main())


def test_whoever_drops_rows_late_leaves_those_alone_that_have_their_number_since(
    tmp_path: Path,
) -> None:
    """A rebuild and a start may drop the same generation, and another may begin right after."""
    twice_upgraded(tmp_path, 1)
    with closing(connect(tmp_path / VIEWS_FILE)) as connection:
        with transaction(connection):
            grown = create_generation(connection, THIRD[0], state="growing")
            give_up(connection, grown)
        assert drop_some(connection, grown)
        drop_generation(connection, _rows(connection)[-1])
        with transaction(connection):
            again = create_generation(connection, THIRD[0], state="growing")
        assert again.generation == grown.generation
        assert not drop_some(connection, grown)
        names = {name for (name,) in query(tmp_path, "SELECT name FROM sqlite_master")}
        assert names >= set(again.table_names())


async def _filled(directory: Path, runs: int) -> None:
    """Leave a journal with so many runs that ended behind, and its views."""
    async with served(directory) as (journal, views):
        await add_workflow(journal)
        for _ in range(runs // 100):
            made = [run_commits(new_run(), WORKFLOW) for _ in range(100)]
            for step in range(2):
                await journal.append(
                    Commit([write for commits in made for write in commits[step].writes])
                )
        await views.wait_for(journal.head, 20)


def _rows(connection: sqlite3.Connection) -> Sequence[Generation]:
    return [row for row in generations(connection) if row.name == "runs"]
