"""The one writer: a thread that takes what waits and commits it once (group commit).

Every append of a group is decided against the stream heads, in order; those that are refused
leave the others untouched. One fsync and one hop between threads serve the whole group.

After an erasure the write-ahead log still holds pages with the erased bytes: the writer soon moves
it into the file, where they are overwritten, and cuts it to nothing.

When a group fails, nothing of it is kept, and the disk is asked again every second with an
empty commit, so that the store finds back by itself when there is room.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Final

from .clock import Clock, RandomSource
from .envelope import SALT_BYTES, Recorded
from .errors import CorruptStoreError, InvalidCommitError, JournalError, StoreFailedError
from .events import DECODERS
from .figures import JournalFigures
from .journal import Appended, Commit
from .sequencer import EMPTY, Head, Sequenced, Sequencer, TakenRequest
from .sqlite_file import empty_log, probe
from .sqlite_inserts import insert
from .sqlite_reader import (
    ARCHIVED,
    BETWEEN,
    BODIED,
    HEAD,
    REQUEST,
    STREAM,
    STREAM_HEAD,
    events_of,
)
from .upcasters import Decoders

Result = Appended | JournalError
Token = asyncio.Future[Appended]
"""Only handed back: its own loop's thread settles it."""
Results = Sequence[tuple[Token, Result]]
Deliver = Callable[[Results, bool], None]
PROBE_SECONDS: Final = 1.0
"""How often a store that could not write tries whether it can again."""
SCRUB_SECONDS: Final = 0.25
"""How long after an erasure the log is emptied; erasures until then share it."""
_HEADS_MAX: Final = 20_000


class SqliteLedger:
    """What the rules look up, on the writer's own connection, inside its transaction."""

    def __init__(self, connection: sqlite3.Connection, decoders: Decoders) -> None:
        self._connection = connection
        self._decoders = decoders
        self.heads: OrderedDict[str, Head] = OrderedDict()

    def head(self, stream: str) -> Head:
        """Return a stream's head, from memory if it was used lately."""
        known = self.heads.get(stream)
        if known is not None:
            return known
        row = self._connection.execute(STREAM_HEAD, (stream,)).fetchone()
        return EMPTY if row is None else (row[0], row[1].hex())

    def remember(self, heads: dict[str, Head]) -> None:
        """Note new heads, forgetting the oldest beyond the bound."""
        for stream, head in heads.items():
            self.heads[stream] = head
            self.heads.move_to_end(stream)
        while len(self.heads) > _HEADS_MAX:
            self.heads.popitem(last=False)

    def taken(self, scope: str, key: str) -> TakenRequest | None:
        """Return the commit that took an idempotency key last."""
        row = self._connection.execute(REQUEST, (scope, key)).fetchone()
        return None if row is None else TakenRequest(*row)

    def holder(self, resource: str) -> str | None:
        """Return one of the streams that hold a resource, if any."""
        row = self._connection.execute(
            "SELECT min(holder) FROM hold WHERE resource = ?", (resource,)
        ).fetchone()
        return None if row[0] is None else str(row[0])

    def bodied(self, position: int) -> Recorded | None:
        """Return the event at a position if a body of its own is not erased."""
        rows = self._connection.execute(BODIED, (position,))
        return next(iter(events_of(rows, self._decoders)), None)

    def is_archived(self, position: int) -> bool:
        """Tell whether the body at a position is in a segment."""
        return self._connection.execute(ARCHIVED, (position,)).fetchone() is not None

    def between(self, first: int, last: int) -> Sequence[Recorded]:
        """Read the events of a range of positions, both ends included."""
        return events_of(self._connection.execute(BETWEEN, (first, last)), self._decoders)

    def versions(self, stream: str, after: int, count: int) -> Sequence[Recorded]:
        """Read `count` events of a stream after a version."""
        rows = self._connection.execute(STREAM, (stream, after, count))
        return events_of(rows, self._decoders)


class Writer:
    """Owns the writing connection and the thread that uses it."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        journal_id: str,
        clock: Clock,
        batch_max: int,
        deliver: Deliver,
        decoders: Decoders = DECODERS,
    ) -> None:
        """`deliver` is called on the writer's thread, once a group.

        It gets each append's token with its result, and whether the disk takes commits. It must
        not raise.
        """
        self._connection = connection
        self.figures: Final = JournalFigures()
        self._clock = clock
        self._batch_max = batch_max
        self._deliver = deliver
        self._ledger = SqliteLedger(connection, decoders)
        self._sequencer = Sequencer(journal_id, self._ledger, RandomSource(SALT_BYTES))
        self._position = self._durable_head()
        self._last_at = int(
            connection.execute(
                "SELECT coalesce((SELECT at FROM event ORDER BY position DESC LIMIT 1), 0)"
            ).fetchone()[0]
        )
        self._writable = True
        # A crash may have left what was erased in the log, and a reader kept it there at the start.
        self._scrub_at: float | None = time.monotonic()
        """When the log is to be emptied, in seconds of the monotonic clock."""
        self._erasures, self._scrubbed = 1, 0
        self._queue: SimpleQueue[tuple[Token, Commit] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)

    @property
    def last_at(self) -> int:
        """The time of the newest commit, in microseconds."""
        return self._last_at

    @property
    def position(self) -> int:
        """The newest durable position."""
        return self._position

    @property
    def erasures(self) -> int:
        """How many groups have erased something, and the start, after which it is not known."""
        return self._erasures

    @property
    def scrubbed(self) -> int:
        """How many of the `erasures` left nothing in the log; told by an empty delivery."""
        return self._scrubbed

    def start(self) -> None:
        """Begin to take appends."""
        self._thread.start()

    def put(self, token: Token, commit: Commit) -> None:
        """Queue an append; its result comes through `deliver` with the same token."""
        self._queue.put((token, commit))

    def stop(self) -> None:
        """Commit what is queued, then end the thread. Blocks until it has ended."""
        self._queue.put(None)
        self.join()

    def join(self) -> None:
        """Block until the thread has ended."""
        self._thread.join()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            try:
                item = self._queue.get(timeout=self._patience())
            except Empty:
                if not self._writable:
                    self._try_again()
                self._scrub_if_due()
                continue
            batch: list[tuple[Token, Commit]] = []
            while item is not None:
                batch.append(item)
                if len(batch) >= self._batch_max:
                    break
                try:
                    item = self._queue.get_nowait()
                except Empty:
                    break
            stopping = item is None
            if batch:
                results = self._commit(batch)
                self._deliver(results, self._writable)
            self._scrub_if_due()
        if self._scrub_at is not None:
            self._scrub()

    def _patience(self) -> float | None:
        """Return how many seconds to wait for an append, None for ever."""
        if not self._writable:
            return PROBE_SECONDS
        return None if self._scrub_at is None else max(0.0, self._scrub_at - time.monotonic())

    def _scrub_if_due(self) -> None:
        if self._scrub_at is not None and time.monotonic() >= self._scrub_at:
            self._scrub()

    def _scrub(self) -> None:
        """Empty the log; a reader that prevents it, or the disk, is asked again in a while."""
        try:
            emptied = empty_log(self._connection)
        except sqlite3.Error:
            emptied = False
        self._scrub_at = None if emptied else time.monotonic() + PROBE_SECONDS
        if emptied:
            self._scrubbed = self._erasures
            self._deliver((), self._writable)

    def _try_again(self) -> None:
        try:
            probe(self._connection)
            self._writable = self._durable_head() == self._position
        except sqlite3.Error:
            return
        if self._writable:
            self._deliver((), True)

    def _commit(self, batch: Sequence[tuple[Token, Commit]]) -> Results:
        """Commit a group; if it fails, nothing of it is kept and every caller hears of it.

        A group that failed for another reason than the disk is done again one by one, so that
        an append that SQLite can't store takes no other down with it.
        """
        try:
            return self._attempt(batch)
        except Exception as error:
            self._roll_back()
            if len(batch) == 1 or isinstance(error, sqlite3.OperationalError):
                if _is_ours(error):
                    self._writable = False
                    self.figures.groups_failed += 1
                return [(token, _failure(error)) for token, _ in batch]
        return [result for item in batch for result in self._commit([item])]

    def _attempt(self, batch: Sequence[tuple[Token, Commit]]) -> Results:
        at = max(self._clock.now_us(), self._last_at)
        position = self._position
        results: list[tuple[Token, Result]] = []
        erases = False
        began = time.perf_counter()
        self._connection.execute("BEGIN IMMEDIATE")
        if not self._writable:
            self._refuse_other_head()
        for token, commit in batch:
            try:
                made = self._sequencer.sequence(commit, position, at)
            except JournalError as error:
                results.append((token, error))
                continue
            if isinstance(made, Sequenced):
                insert(self._connection, made)
                self._ledger.remember(made.heads)
                position += len(made.rows)
                erases = erases or bool(made.erased)
                results.append((token, Appended([row.event for row in made.rows])))
            else:
                results.append((token, made))
        decided = time.perf_counter()
        self._connection.execute("COMMIT")
        if position > self._position:
            # An empty transaction says nothing about the disk, and has no time.
            self._position, self._last_at, self._writable = position, at, True
            ended = time.perf_counter()
            self.figures.groups.observe(ended - began)
            self.figures.syncs.observe(ended - decided)
        if erases:
            self._erasures += 1
            if self._scrub_at is None:
                self._scrub_at = time.monotonic() + SCRUB_SECONDS
        return results

    def _durable_head(self) -> int:
        return int(self._connection.execute(HEAD).fetchone()[0])

    def _refuse_other_head(self) -> None:
        """After a failure, see that the file holds exactly what this process has announced."""
        head = self._durable_head()
        if head != self._position:
            raise CorruptStoreError(
                f"the journal ends at {head} and this process knows of {self._position}: "
                "somebody else writes to the file; restart the service"
            )

    def _roll_back(self) -> None:
        self._ledger.heads.clear()
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            # SQLite has rolled back by itself; the first error is the one to report.
            return


def _is_ours(error: Exception) -> bool:
    """Tell a failure of the store from a commit that no store could keep."""
    return isinstance(error, (sqlite3.Error, CorruptStoreError)) and not isinstance(
        error, sqlite3.DataError
    )


def _failure(error: Exception) -> JournalError:
    # One for each caller: an exception that is raised in many tasks mixes their tracebacks.
    failure: JournalError
    if isinstance(error, JournalError):
        failure = StoreFailedError(str(error))
    elif _is_ours(error):
        failure = StoreFailedError(f"the journal could not be written: {error}")
    else:
        failure = InvalidCommitError(f"the commit can't be stored ({type(error).__name__})")
    failure.__cause__ = error
    return failure
