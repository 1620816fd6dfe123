"""Runs `refold` with one fault planted: what an audit must find, or it proves nothing.

`python faulty_service.py FAULT serve …`. The faults live here, outside of what is shipped.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from refold.engine import decider
from refold.engine.calls import Calls, PlannedCall
from refold.engine.engine import Engine
from refold.engine.transcript import Transcript
from refold.http import live
from refold.journal import sqlite_file, sqlite_store
from refold.journal.envelope import Recorded
from refold.journal.events import ScheduleFired
from refold.journal.journal import Appended, Commit, Metadata, NewEvent, StreamWrite
from refold.journal.sqlite_file import open_writer
from refold.journal.sqlite_store import SqliteJournal
from refold.projections.applying import Applier, Changes
from refold.projections.generations import Generation, move
from refold.projections.lanes import Lanes
from refold.scripts import cli

LATE_SECONDS = 0.1


class LateConnection:
    """Says that it has committed, and commits a little later."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._turn = threading.Lock()
        self._stop = threading.Event()
        threading.Thread(target=self._commit_now_and_then, daemon=True).start()

    def __getattr__(self, name: str) -> Any:
        """Do everything else as the real one does."""
        return getattr(self._connection, name)

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        """Leave the end of a transaction to the other thread."""
        if statement == "BEGIN IMMEDIATE":
            self._turn.acquire()
            if self._connection.in_transaction:
                return self._connection.cursor()
        elif statement == "COMMIT":
            self._turn.release()
            return self._connection.cursor()
        return self._connection.execute(statement, *parameters)

    def _commit_now_and_then(self) -> None:
        while not self._stop.wait(LATE_SECONDS):
            with self._turn:
                if self._connection.in_transaction:
                    self._connection.execute("COMMIT")


def patch(where: object, name: str, value: Any) -> None:
    """Put something else in the place of a function or a constant, which must be there."""
    assert hasattr(where, name), name
    setattr(where, name, value)


def acknowledge_early() -> None:
    """Answer before the commit is durable."""

    def open_late(path: Path) -> Any:
        return LateConnection(open_writer(path))

    patch(sqlite_store, "open_writer", open_late)


def call_early() -> None:
    """Let an effect begin before its start is durable, on a slow disk."""
    plan, flush = Calls.plan, Transcript.flush

    def plan_and_begin(calls: Calls, call: PlannedCall) -> None:
        plan(calls, call)
        calls.begin()

    async def flush_late(transcript: Transcript, meta: Metadata | None = None) -> None:
        await asyncio.sleep(LATE_SECONDS)
        await flush(transcript, meta)

    patch(Calls, "plan", plan_and_begin)
    patch(Transcript, "flush", flush_late)


def call_again() -> None:
    """Forget at recovery that a node is to be called at most once."""
    judge = decider.after_crash

    def forgetful(*asked: Any, **named: Any) -> str:
        fate = judge(*asked, **named)
        return "again" if fate == "fail" else fate

    patch(decider, "after_crash", forgetful)


def forget_runs() -> None:
    """Take up nothing at a start."""

    async def none(engine: Engine) -> int:
        del engine
        return 0

    patch(Engine, "recover", none)
    # So that the audit need not wait long for what never comes.
    patch(live, "HEARTBEAT_S", 0.5)


def start_apart() -> None:
    """Start a child in one commit and note it in another."""

    async def apart(
        transcript: Transcript, event: NewEvent, other: StreamWrite, guard: tuple[str, int]
    ) -> Any:
        appended = await transcript._append(Commit([other], guards=[guard]))  # pyright: ignore[reportPrivateUsage]
        await asyncio.sleep(LATE_SECONDS)
        transcript.add(event)
        await transcript.flush()
        return appended.events

    patch(Transcript, "commit_with", apart)


def fire_apart() -> None:
    """Make a scheduled run in one commit and note the firing in another."""
    append = SqliteJournal.append

    async def apart(journal: SqliteJournal, commit: Commit, *, patient: bool = False) -> Any:
        first = commit.writes[0]
        if not isinstance(first.events[0].facts, ScheduleFired) or len(commit.writes) < 2:
            return await append(journal, commit, patient=patient)
        made = await append(journal, Commit(commit.writes[1:]), patient=patient)
        await asyncio.sleep(3 * LATE_SECONDS)
        fired = await append(journal, Commit([first]), patient=patient)
        return Appended([*fired.events, *made.events])

    patch(SqliteJournal, "append", apart)


def fold_by_batch() -> None:
    """Forget a change where many equal ones come together."""
    run = Applier.run

    def forgetful(applier: Applier, changes: Changes) -> None:
        run(applier, [(sql, rows[:3]) for sql, rows in changes])

    patch(Applier, "run", forgetful)


def checkpoint_first() -> None:
    """Commit how far the rows of runs are before the rows."""
    advance = Lanes._advance  # pyright: ignore[reportPrivateUsage]

    def early(
        lanes: Lanes, lane: Any, row: Generation, events: Sequence[Recorded], *, safely: bool
    ) -> bool:
        connection = lanes._connection  # pyright: ignore[reportPrivateUsage]
        if lane.name == "runs" and events and events[-1].position > row.position:
            assert connection is not None
            move(connection, row, events[-1].position, events[-1].leaf)
            connection.execute("COMMIT")
            time.sleep(LATE_SECONDS)
            connection.execute("BEGIN IMMEDIATE")
        return advance(lanes, lane, row, events, safely=safely)

    patch(Lanes, "_advance", early)


def sync_off() -> None:
    """Leave it to the kernel when a commit reaches the disk."""
    sqlite_file._WRITER_PRAGMAS["synchronous"] = 0  # pyright: ignore[reportPrivateUsage]


FAULTS = {
    fault.__name__: fault
    for fault in (
        acknowledge_early,
        call_early,
        call_again,
        forget_runs,
        start_apart,
        fire_apart,
        fold_by_batch,
        checkpoint_first,
        sync_off,
    )
}

if __name__ == "__main__":
    FAULTS[sys.argv[1]]()
    sys.exit(cli.main(sys.argv[2:]))
