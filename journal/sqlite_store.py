"""The `Journal` on SQLite: one writer thread, read-only readers, one owning process."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiosqlite

from .append_queue import QUEUE_MAX, AppendQueue, size_of
from .clock import Clock, IdSource, SystemClock
from .compaction import compact_if_begun
from .envelope import Recorded
from .errors import (
    CorruptStoreError,
    ForeignStoreError,
    OverloadedError,
    StoreClosedError,
    StoreFailedError,
)
from .events import DECODERS
from .journal import (
    PAGE,
    Appended,
    Body,
    Commit,
    Hold,
    RequestKey,
    Standing,
    Subscriber,
    Types,
)
from .sequencer import TakenRequest, is_remembered
from .sqlite_file import (
    JOURNAL_FILE,
    READER_PRAGMAS,
    open_writer,
    owner_lock,
    reader_uri,
    translated,
)
from .sqlite_identity import check_key, created, identity_of
from .sqlite_reader import (
    ALL,
    BETWEEN,
    HOLDS,
    KEY_EVENT,
    POSITION_AT,
    REQUEST,
    STREAM,
    TAGGED,
    Reader,
    bodies_of,
    bodies_statements,
    entries_statements,
    events_of,
    holds_of,
    present_bodies,
    segments_of,
    segments_statements,
    standing_in_statements,
    standing_of,
    standing_statements,
    unfinished_statements,
)
from .sqlite_writer import Results, Writer
from .subscriptions import Subscriptions
from .upcasters import Decoders

BATCH_MAX: Final = 256
_READERS: Final = 2


class SqliteJournal:
    """See `Journal` for what each method promises. Made by `open_journal`."""

    def __init__(
        self,
        journal_id: str,
        writer: Writer,
        readers: Sequence[aiosqlite.Connection],
        queue: AppendQueue,
        clock: Clock,
        decoders: Decoders,
    ) -> None:
        self._id = journal_id
        self._decoders = decoders
        self._clock = clock
        self._writer = writer
        self.figures: Final = writer.figures
        self._readers = readers
        self._next_reader = 0
        self.queue: Final = queue
        """What is on its way to the disk, and how much of it there may be."""
        self._accepted = 0
        self._delivered = 0
        self._timed = 0.0, 0.0
        """What groups have taken so far, and syncs of it, in seconds."""
        self._settling: list[tuple[int, asyncio.Future[None]]] = []
        """Who waits for as many appends to be delivered."""
        self._scrubbing: list[tuple[int, asyncio.Future[None]]] = []
        """Who waits for as many erasures to be gone from the log."""
        self._room = asyncio.Event()
        self._room.set()
        self._head = writer.position
        self._subscriptions = Subscriptions()
        self._closed = False
        self._writable = True

    @property
    def id(self) -> str:
        """The journal's own id, in every entry."""
        return self._id

    @property
    def head(self) -> int:
        """The newest durable position."""
        return self._head

    @property
    def is_writable(self) -> bool:
        """False from a commit that the disk refused until it takes one, and when closing.

        The writer tries by itself every second, so an idle journal finds back too.
        """
        return self._writable and not self._closed

    @property
    def queued_total(self) -> int:
        """How many appends are on their way: queued, or in the commit that is being made."""
        return self._accepted - self._delivered

    async def append(self, commit: Commit, *, patient: bool = False) -> Appended:
        """Make a commit durable and return its events (see `Journal.append`)."""
        tenant, size = commit.writes[0].meta.tenant if commit.writes else "", size_of(commit)
        while not self._closed and self.queue.is_full_for(tenant, size):
            if not patient:
                raise OverloadedError("the journal's queue is full")
            self._room.clear()
            await self._room.wait()
        if self._closed:
            raise StoreClosedError("the journal is closed")
        future: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        self._accepted += 1
        began = time.perf_counter()
        self.queue.add(future, commit, tenant, size)
        # A caller that is cancelled here cancels only its own future; the commit goes on.
        appended = await future
        self.figures.appends.observe(time.perf_counter() - began)
        return appended

    def deliver(self, results: Results, writable: bool) -> None:
        """Hand a committed group to the subscribers, then to the callers, on the loop's thread."""
        self._delivered += len(results)
        groups, syncs = self.figures.groups.total, self.figures.syncs.total
        computed, synced = groups - self._timed[0], syncs - self._timed[1]
        self.queue.pace(len(results), computed - synced, synced)
        self._timed = groups, syncs
        self.queue.delivered(results)
        self._room.set()
        self._writable = writable
        events: list[Recorded] = []
        for _, result in results:
            if isinstance(result, Appended) and not result.repeated:
                events.extend(result.events)
        if events:
            self._head = events[-1].position
            self.figures.committed(events)
            self._subscriptions.notify(events)
        _settle(self._settling, self._delivered)
        _settle(self._scrubbing, self._writer.scrubbed)
        self.queue.tell()

    async def read_stream(
        self, stream: str, after: int = 0, limit: int = PAGE
    ) -> Sequence[Recorded]:
        """Read a stream's events with a version greater than `after`, in order."""
        return events_of(await self._read(STREAM, (stream, after, limit)), self._decoders)

    async def read_all(self, after: int = 0, limit: int = PAGE) -> Sequence[Recorded]:
        """Read the events after a position, in order."""
        return events_of(await self._read(ALL, (after, limit)), self._decoders)

    async def read_bodies(self, positions: Sequence[int]) -> dict[int, Body]:
        """Read the bodies at these positions; an erased or archived one is missing."""
        found = await self.read_stored_bodies(positions)
        if not self._decoders.rewrites_bodies:
            return found
        entries = await self._rows(entries_statements(list(found)))
        return present_bodies(found, entries, self._decoders)

    async def read_stored_bodies(self, positions: Sequence[int]) -> dict[int, Body]:
        """Read bodies as the bytes that were committed to, whatever their schema was."""
        return bodies_of(await self._rows(bodies_statements(positions)))

    async def read_entries(self, positions: Sequence[int]) -> dict[int, bytes]:
        """Read the entries at these positions as the bytes that were hashed."""
        return dict(await self._rows(entries_statements(positions)))

    async def standing(self, positions: Sequence[int]) -> dict[int, int]:
        """Return which of these positions hold bodies of their own, and their bytes."""
        return {row[0]: row[1] for row in await self._rows(standing_statements(positions))}

    async def standing_in(self, streams: Sequence[str]) -> dict[str, Standing]:
        """Return where the bodies of streams' own events stand; one without any is missing."""
        return standing_of(await self._rows(standing_in_statements(streams)))

    async def tagged(self, subject: str, after: int = 0, limit: int = PAGE) -> Sequence[Recorded]:
        """Read the events after a position whose unerased bodies have this data subject."""
        rows = await self._read(TAGGED, (subject, after, limit))
        return events_of(rows, self._decoders)

    async def unfinished(self, runs: Sequence[str]) -> list[str]:
        """Return those of these runs that have begun and not ended."""
        return [row[0] for row in await self._rows(unfinished_statements(runs))]

    async def erased_from_files(self, seconds: float) -> bool:
        """Wait until no file holds what was erased so far; False if a reader keeps it there."""
        wanted = self._writer.erasures
        if self._writer.scrubbed < wanted:
            scrubbed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._scrubbing.append((wanted, scrubbed))
            await asyncio.wait((scrubbed,), timeout=seconds)
        return self._writer.scrubbed >= wanted

    async def read_segments(self, positions: Sequence[int]) -> dict[int, str]:
        """Return which segment holds each of these bodies; one that is in none is missing."""
        return segments_of(await self._rows(segments_statements(positions)))

    async def position_at(self, at_us: int) -> int | None:
        """Return the newest position that was committed by a time, None if it has not come."""
        if at_us >= self._clock.now_us():
            return None
        # What the writer has taken up may have got its time already, and is to be durable first.
        if self._delivered < self._accepted:
            settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._settling.append((self._accepted, settled))
            await settled
        rows = list(await self._read(POSITION_AT, (self._head, at_us)))
        return int(rows[0][0])

    async def requested(self, request: RequestKey) -> Appended | None:
        """Return what an idempotency key made before, None if it is free."""
        rows = list(await self._read(REQUEST, (request.scope, request.key)))
        taken = TakenRequest(*rows[0]) if rows else None
        if not is_remembered(taken, request, self._clock.now_us()):
            return None
        events = await self._read(BETWEEN, (taken.first, taken.last))
        return Appended(events_of(events, self._decoders), repeated=True)

    async def holds(self) -> Sequence[Hold]:
        """List what is in use."""
        return holds_of(await self._read(HOLDS, ()))

    async def key_event(self) -> Recorded | None:
        """Return the newest event that says which service key is in use."""
        return next(iter(events_of(await self._read(KEY_EVENT, ()), self._decoders)), None)

    def subscribe(self, subscriber: Subscriber, of: Types | None = None) -> Callable[[], None]:
        """Call `subscriber` with the events of each commit from now on, in order."""
        return self._subscriptions.add(subscriber, of)

    def close(self) -> None:
        """Refuse further appends, those that wait for a place in the queue included."""
        self._closed = True
        self.queue.hand_over()
        self._room.set()

    async def _rows(self, statements: Iterable[tuple[str, Sequence[Any]]]) -> list[Any]:
        """Read what some statements give, one after the other: none of them is long."""
        return [row for pair in statements for row in await self._read(*pair)]

    async def _read(self, statement: str, parameters: Sequence[Any]) -> Iterable[Any]:
        self._next_reader = (self._next_reader + 1) % len(self._readers)
        reader = self._readers[self._next_reader]
        try:
            return await reader.execute_fetchall(statement, parameters)
        except sqlite3.OperationalError as error:
            raise StoreFailedError(f"the journal could not be read: {error}") from error
        except sqlite3.Error as error:
            raise CorruptStoreError(f"the journal is damaged: {error}") from error
        except ValueError as error:
            # This is how aiosqlite says that its connection was closed.
            if self._closed:
                raise StoreClosedError("the journal is closed") from error
            raise


def _settle(waiting: list[tuple[int, asyncio.Future[None]]], reached: int) -> None:
    """Wake those who wait for no more than what is reached."""
    for waits in [waits for waits in waiting if waits[0] <= reached or waits[1].done()]:
        waiting.remove(waits)
        if not waits[1].done():
            waits[1].set_result(None)


@asynccontextmanager
async def open_journal(
    directory: Path,
    service_key: bytes | None,
    clock: SystemClock,
    *,
    older_keys: Sequence[bytes] = (),
    batch_max: int = BATCH_MAX,
    queue_max: int = QUEUE_MAX,
    decoders: Decoders = DECODERS,
) -> AsyncGenerator[SqliteJournal]:
    """Own the journal of a data directory, making it if there is none.

    Without a `service_key` none is checked, and no journal is made: for who reads no secret.
    A journal that was last used with one of `older_keys` is opened too: whoever opens it then
    appends the `key.rotated` that makes `service_key` its key.

    Raises:
        StoreOwnedError, ForeignStoreError, CorruptStoreError, WrongKeyError, StoreFailedError:
        each says in one sentence what an operator has to know.
    """
    loop = asyncio.get_running_loop()
    path = directory / JOURNAL_FILE
    async with AsyncExitStack() as stack:
        stack.enter_context(owner_lock(directory))
        compact_if_begun(directory)
        if service_key is None and not path.exists():
            raise ForeignStoreError(f"there is no journal at {path}")
        connection = open_writer(path)
        stack.callback(connection.close)
        with translated(path):
            journal_id = identity_of(connection, clock)
            if service_key is not None:
                check_key(Reader(connection), journal_id, (service_key, *older_keys))

        def deliver(results: Results, writable: bool) -> None:
            try:
                loop.call_soon_threadsafe(journal.deliver, results, writable)
            except RuntimeError:
                # The loop was closed under the journal: nobody is left to be told.
                return

        writer = Writer(connection, journal_id, clock, batch_max, deliver, decoders)
        clock.advance_to(writer.last_at)
        with translated(path):
            readers = [await stack.enter_async_context(_reader(path)) for _ in range(_READERS)]
        queue = AppendQueue(writer.put, batch_max, queue_max)
        journal = SqliteJournal(journal_id, writer, readers, queue, clock, decoders)
        writer.start()
        stack.push_async_callback(_stop, writer)
        stack.callback(journal.close)
        if writer.position == 0 and service_key is not None:
            await journal.append(created(journal_id, service_key, IdSource(clock)))
        yield journal


@asynccontextmanager
async def _reader(path: Path) -> AsyncGenerator[aiosqlite.Connection]:
    async with aiosqlite.connect(reader_uri(path), uri=True, isolation_level=None) as reader:
        for setting in READER_PRAGMAS:
            await reader.execute_fetchall(f"PRAGMA {setting}")
        yield reader


async def _stop(writer: Writer) -> None:
    """Drain the queue and end the thread.

    The connection and the lock are let go of after this, so it does not return before the
    thread has ended: a second cancellation only makes it block the loop meanwhile.
    """
    stopped = asyncio.ensure_future(asyncio.to_thread(writer.stop))
    try:
        await asyncio.shield(stopped)
    except asyncio.CancelledError:
        writer.join()
        raise
