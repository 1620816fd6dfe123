"""The one writer: a thread that takes what waits and commits it once (group commit).

Every append of a group is decided against the stream heads, in order; those that are refused
leave the others untouched. One fsync and one hop between threads serve the whole group.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Final

from .clock import Clock
from .envelope import SALT_BYTES, Recorded
from .errors import JournalError, StoreFailedError
from .journal import Appended, Commit
from .sequencer import EMPTY, Head, Sequenced, Sequencer, TakenRequest
from .sqlite_reader import HEAD, STREAM, STREAM_HEAD, events_of

Result = Appended | JournalError
_HEADS_MAX: Final = 20_000
_INSERT_EVENT: Final = (
    "INSERT INTO event (position, stream, version, at, entry, leaf, body_at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_BODY: Final = "INSERT INTO body (position, salt, subject, data) VALUES (?, ?, ?, ?)"
_INSERT_REQUEST: Final = (
    "INSERT INTO request (scope, key, digest, first, last, at) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (scope, key) DO UPDATE SET digest = excluded.digest, first = excluded.first, "
    "last = excluded.last, at = excluded.at"
)


class SqliteLedger:
    """What the rules look up, on the writer's own connection, inside its transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
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
        row = self._connection.execute(
            "SELECT digest, first, last, at FROM request WHERE scope = ? AND key = ?",
            (scope, key),
        ).fetchone()
        return None if row is None else TakenRequest(*row)

    def holder(self, resource: str) -> str | None:
        """Return one of the streams that hold a resource, if any."""
        row = self._connection.execute(
            "SELECT holder FROM hold WHERE resource = ? LIMIT 1", (resource,)
        ).fetchone()
        return None if row is None else str(row[0])

    def between(self, first: int, last: int) -> Sequence[Recorded]:
        """Read the events of a range of positions, both ends included."""
        return events_of(
            self._connection.execute(
                "SELECT position, entry, leaf, body_at FROM event "
                "WHERE position BETWEEN ? AND ? ORDER BY position",
                (first, last),
            )
        )

    def versions(self, stream: str, after: int, count: int) -> Sequence[Recorded]:
        """Read `count` events of a stream after a version."""
        return events_of(self._connection.execute(STREAM, (stream, after, count)))


class Writer:
    """Owns the writing connection and the thread that uses it."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        journal_id: str,
        clock: Clock,
        batch_max: int,
        deliver: Callable[[Sequence[tuple[object, Result]]], None],
    ) -> None:
        """`deliver` is called on this thread, once a group, with each append's token and result."""
        self._connection = connection
        self._clock = clock
        self._batch_max = batch_max
        self._deliver = deliver
        self._ledger = SqliteLedger(connection)
        self._sequencer = Sequencer(journal_id, self._ledger, lambda: os.urandom(SALT_BYTES))
        self._position = int(connection.execute(HEAD).fetchone()[0])
        self._last_at = int(
            connection.execute(
                "SELECT coalesce((SELECT at FROM event ORDER BY position DESC LIMIT 1), 0)"
            ).fetchone()[0]
        )
        self._queue: SimpleQueue[tuple[object, Commit] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)

    @property
    def last_at(self) -> int:
        """The time of the newest commit, in microseconds."""
        return self._last_at

    @property
    def position(self) -> int:
        """The newest durable position."""
        return self._position

    def start(self) -> None:
        """Begin to take appends."""
        self._thread.start()

    def put(self, token: object, commit: Commit) -> None:
        """Queue an append; its result comes through `deliver` with the same token."""
        self._queue.put((token, commit))

    def stop(self) -> None:
        """Commit what is queued, then end the thread. Blocks until it has ended."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            item = self._queue.get()
            batch: list[tuple[object, Commit]] = []
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
                self._deliver(self._commit(batch))

    def _commit(self, batch: Sequence[tuple[object, Commit]]) -> list[tuple[object, Result]]:
        at = max(self._clock.now_us(), self._last_at)
        position = self._position
        results: list[tuple[object, Result]] = []
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for token, commit in batch:
                try:
                    made = self._sequencer.sequence(commit, position, at)
                except JournalError as error:
                    results.append((token, error))
                    continue
                if isinstance(made, Sequenced):
                    self._insert(made)
                    position += len(made.rows)
                    results.append((token, Appended([row.event for row in made.rows])))
                else:
                    results.append((token, made))
            self._connection.execute("COMMIT")
        except Exception as error:
            # Nothing of the group is kept, whatever went wrong: every caller hears of it, and
            # the thread lives on for when the operator has made room on the disk.
            self._roll_back()
            failure = StoreFailedError(f"the journal could not be written: {error}")
            failure.__cause__ = error
            return [(token, failure) for token, _ in batch]
        self._position, self._last_at = position, at
        return results

    def _insert(self, made: Sequenced) -> None:
        execute, many = self._connection.execute, self._connection.executemany
        many(
            _INSERT_EVENT,
            [
                (ev.position, ev.stream, ev.version, ev.at, row.entry, ev.leaf, ev.body_at)
                for row in made.rows
                for ev in (row.event,)
            ],
        )
        bodies = [
            (row.event.position, row.salt, row.subject, row.body)
            for row in made.rows
            if row.body is not None
        ]
        if bodies:
            many(_INSERT_BODY, bodies)
        if made.request is not None:
            request, taken = made.request
            execute(
                _INSERT_REQUEST,
                (request.scope, request.key, taken.digest, taken.first, taken.last, taken.at),
            )
        for hold in made.taken:
            execute(
                "INSERT INTO hold (holder, resource) VALUES (?, ?)", (hold.holder, hold.resource)
            )
        for holder in made.released:
            execute("DELETE FROM hold WHERE holder = ?", (holder,))
        self._ledger.remember(made.heads)

    def _roll_back(self) -> None:
        self._ledger.heads.clear()
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            # SQLite has rolled back by itself; the first error is the one to report.
            return
