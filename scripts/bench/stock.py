"""Fills a data directory with finished runs, through the journal's own appends.

Each is a copy of a run that the service has really executed: the same facts and bodies under new
ids, so the journal verifies, and every view is what the service makes of it at its next start.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Final

from ...journal import ids
from ...journal.clock import IdSource, SystemClock
from ...journal.journal import Commit, Metadata, NewEvent, StreamWrite
from ...journal.sqlite_store import SqliteJournal, open_journal
from .service import service

_RUNS_A_COMMIT: Final = 50
_COMMITS_AT_ONCE: Final = 8


def stocked(
    data: Path, workflow: dict[str, Any], context: dict[str, Any], runs: int
) -> tuple[str, str]:
    """Define a workflow, execute it once, and store `runs` copies; return both ids."""
    with service(REFOLD_DATA=str(data)) as target:
        made = str(target.call("POST", "/workflows", workflow)["id"])
        path = f"/workflows/{made}/execute"
        run = target.call("POST", path, {"context": context}, Prefer="wait=30")
    asyncio.run(_fill(data, run["id"], runs))
    return made, str(run["id"])


def add(data: Path, run: str, runs: int) -> float:
    """Store so many more copies of a run; return the seconds that it took."""
    began = time.perf_counter()
    asyncio.run(_fill(data, run, runs))
    return time.perf_counter() - began


async def _fill(data: Path, run: str, runs: int) -> None:
    clock = SystemClock()
    async with open_journal(data, None, clock) as journal:
        copies = await _Original.read(journal, run)
        new_ids = IdSource(clock)
        left = asyncio.Semaphore(_COMMITS_AT_ONCE)
        waiting: set[asyncio.Task[None]] = set()

        async def append(count: int) -> None:
            async with left:
                await journal.append(Commit(copies.writes(count, new_ids)), patient=True)

        for first in range(0, runs, _RUNS_A_COMMIT):
            while len(waiting) > 2 * _COMMITS_AT_ONCE:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            waiting.add(asyncio.create_task(append(min(_RUNS_A_COMMIT, runs - first))))
        await asyncio.gather(*waiting)


class _Original:
    """A run that is copied."""

    def __init__(self, events: list[tuple[Any, bytes | None]], meta: Metadata) -> None:
        self._events = events
        self._meta = meta

    @classmethod
    async def read(cls, journal: SqliteJournal, run: str) -> _Original:
        events = await journal.read_stream(run)
        bodies = await journal.read_bodies([event.body_at for event in events if event.body_at])
        first = events[0]
        found = [(e.facts, bodies[e.body_at].data if e.body_at else None) for e in events]
        return cls(found, Metadata(first.tenant, first.actor, first.corr))

    def writes(self, count: int, new_ids: IdSource) -> list[StreamWrite]:
        return [
            StreamWrite(
                new_ids.new(ids.RUN),
                0,
                [NewEvent(new_ids.new(), facts, body) for facts, body in self._events],
                self._meta,
            )
            for _ in range(count)
        ]
