"""A journal with its views, opened for a test, and runs to fill them with."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

from refold.journal import events as e
from refold.journal.journal import Commit, Journal, NewEvent, StreamWrite
from refold.journal.sqlite_file import JOURNAL_FILE
from refold.journal.sqlite_store import SqliteJournal
from refold.projections.built_in import BUILT_IN
from refold.projections.projection import Projection
from refold.projections.projector import QUEUED_MAX
from refold.projections.run_lists import RunFilter, list_runs
from refold.projections.view_rows import RunRow
from refold.projections.views import Views, open_views
from refold.projections.views_file import VIEWS_FILE
from tests.support.journal_kit import META, NEW_IDS, commit, opened
from tests.support.projection_kit import defined, new_run, run_commits

WORKFLOW = f"fl_{'a' * 26}"


@asynccontextmanager
async def served(
    directory: Path,
    *,
    projections: Sequence[Projection] = BUILT_IN,
    queued_max: int = QUEUED_MAX,
) -> AsyncGenerator[tuple[SqliteJournal, Views]]:
    """Open a directory's journal and views."""
    async with (
        opened(directory) as journal,
        viewed(directory, journal, projections=projections, queued_max=queued_max) as views,
    ):
        yield journal, views


@asynccontextmanager
async def viewed(
    directory: Path,
    journal: Journal,
    *,
    projections: Sequence[Projection] = BUILT_IN,
    queued_max: int = QUEUED_MAX,
) -> AsyncGenerator[Views]:
    """Open the views of a directory whose journal is open."""
    async with open_views(
        directory,
        journal,
        directory / JOURNAL_FILE,
        projections=projections,
        queued_max=queued_max,
    ) as views:
        yield views


async def add_runs(
    journal: Journal, total: int, *, facts: Sequence[e.Facts] = (), tenant: str = "acme"
) -> list[str]:
    """Append runs, each with two commits; they complete unless `facts` say otherwise."""
    made: list[str] = []
    for _ in range(total):
        run = new_run()
        for step in run_commits(run, WORKFLOW, facts=facts, tenant=tenant):
            await journal.append(step)
        made.append(run)
    return made


async def add_bulk(journal: Journal, commits_total: int, events_each: int) -> str:
    """Append one long run quickly: many log entries a commit."""
    run = new_run()
    first, rest = run_commits(run, WORKFLOW)
    await journal.append(first)
    entry = rest.writes[0].events[1].facts
    for number in range(commits_total):
        events = [NewEvent(NEW_IDS.new(), entry, b"{}") for _ in range(events_each)]
        await journal.append(Commit([StreamWrite(run, 1 + number * events_each, events, META)]))
    return run


async def add_workflow(journal: Journal, webhook_hash: str = "") -> None:
    """Append the first version of the tests' workflow."""
    event = NewEvent(NEW_IDS.new(), defined(1, webhook_hash=webhook_hash), b"{}")
    await journal.append(commit(StreamWrite(WORKFLOW, 0, [event], META)))


async def all_runs(views: Views, tenant: str = "acme") -> list[RunRow]:
    """List every run of the tests' workflow."""
    return await list_runs(views, RunFilter(tenant=tenant, workflow=WORKFLOW), 100_000)


async def digests(views: Views) -> dict[str, str]:
    """Return the digest of every built-in projection."""
    return {projection.name: await views.digest(projection.name) for projection in BUILT_IN}


def query(directory: Path, statement: str) -> list[tuple[object, ...]]:
    """Read from the views' file as any program could."""
    with closing(sqlite3.connect(directory / VIEWS_FILE)) as connection:
        return connection.execute(statement).fetchall()


def change(directory: Path, script: str, file: str = VIEWS_FILE) -> None:
    """Change a file as any program could."""
    with closing(sqlite3.connect(directory / file, isolation_level=None)) as connection:
        connection.executescript(script)
