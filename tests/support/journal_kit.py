"""Builders for journal tests: a clock that is told the time, events, commits, an open store."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from refold.journal import events as e
from refold.journal.append_queue import QUEUE_MAX
from refold.journal.clock import IdSource, SystemClock
from refold.journal.journal import (
    Appended,
    Commit,
    Journal,
    Metadata,
    NewEvent,
    RequestKey,
    StreamWrite,
)
from refold.journal.sqlite_store import BATCH_MAX, SqliteJournal, open_journal

KEY = b"k" * 32
START_US = 1_761_912_000_000_000
META = Metadata(tenant="acme", actor="", corr="request-1")


class FakeClock(SystemClock):
    """A clock that stands where it is put, also in the past."""

    def __init__(self, now_us: int = START_US) -> None:
        super().__init__()
        self.time_us = now_us

    def now_us(self) -> int:
        """Return the time that was last set."""
        return self.time_us


Scenario: TypeAlias = Callable[[Journal, FakeClock], Awaitable[None]]
Play: TypeAlias = Callable[[Scenario], None]
NEW_IDS = IdSource(SystemClock())


def started(
    body: bytes | None = None, id_: str | None = None, subject: str | None = None
) -> NewEvent:
    """Make the smallest event of a run."""
    facts = e.RunStarted(limit_us=1, started_at=1)
    return NewEvent(NEW_IDS.new() if id_ is None else id_, facts, body, subject)


def requested(workflow: str) -> NewEvent:
    """Make the event by which a run takes hold of its workflow."""
    facts = e.RunRequested(
        chosen_node="",
        depth=0,
        idempotency_digest="",
        idempotency_key="",
        idempotency_scope="",
        in_doubt="",
        kept="",
        origin="execute",
        original_run="",
        original_version=0,
        parent_iteration="",
        parent_node="",
        parent_run="",
        payload_run="",
        replayed_total=0,
        trigger_type="manual",
        workflow=workflow,
        workflow_version=1,
    )
    return NewEvent(NEW_IDS.new(), facts)


def completed() -> NewEvent:
    """Make an event by which a run ends and holds nothing any more."""
    return NewEvent(NEW_IDS.new(), e.RunCompleted(node=""))


def write(stream: str, expected: int, *events: NewEvent) -> StreamWrite:
    """Make a write of events, of one small one by default."""
    return StreamWrite(stream, expected, events or (started(),), META)


def commit(
    *writes: StreamWrite,
    request: RequestKey | None = None,
    guards: Sequence[tuple[str, int]] = (),
    unused: Sequence[str] = (),
) -> Commit:
    """Make a commit of writes."""
    return Commit(writes, guards, request, unused)


def of_tenant(tenant: str, stream: str, body: bytes | None = None) -> Commit:
    """Make a tenant's commit of one event in a new stream."""
    meta = Metadata(tenant=tenant, actor="", corr="request-1")
    return Commit([StreamWrite(stream, 0, [started(body)], meta)])


@asynccontextmanager
async def opened(
    directory: Path,
    clock: SystemClock | None = None,
    *,
    batch_max: int = BATCH_MAX,
    queue_max: int = QUEUE_MAX,
) -> AsyncGenerator[SqliteJournal]:
    """Open the journal of a directory with the tests' key."""
    async with open_journal(
        directory, KEY, clock or SystemClock(), batch_max=batch_max, queue_max=queue_max
    ) as journal:
        yield journal


@contextmanager
def raw(path: Path) -> Generator[sqlite3.Connection]:
    """Connect to a file as any program could, with nothing but the file's own triggers."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def held_up(path: Path) -> Generator[None]:
    """Hold the write lock of the file, so that the writer waits in the middle of its group."""
    with raw(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


def commits_in_log(directory: Path) -> int:
    """Count the commits in the write-ahead log: frames that say how long the file then is."""
    log = (directory / "journal.db-wal").read_bytes()
    page_bytes, salts = int.from_bytes(log[8:12], "big"), log[16:24]
    frames = range(32, len(log), 24 + page_bytes)
    # Frames of an earlier round of the log carry other salts.
    return sum(log[at + 8 : at + 16] == salts and log[at + 4 : at + 8] != bytes(4) for at in frames)


async def queued(*appends: Coroutine[Any, Any, Appended]) -> list[asyncio.Task[Appended]]:
    """Start appends and let each of them reach the queue."""
    tasks = [asyncio.create_task(append) for append in appends]
    await asyncio.sleep(0)
    return tasks
