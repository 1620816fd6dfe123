"""The journal of a simulated service: one writer, group commits, reads that take a while.

The rules are the sequencer's and the rows those of the memory store. What is simulated is time:
a group is stamped when it is taken up, is written and synced when its commit ends, and reaches
subscribers and callers only after that, while readers may see it before.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from random import Random

from refold.journal.clock import Clock
from refold.journal.envelope import SALT_BYTES, Recorded
from refold.journal.errors import JournalError, OverloadedError, StoreClosedError
from refold.journal.figures import JournalFigures
from refold.journal.journal import PAGE, Appended, Body, Commit, Hold, RequestKey, Standing
from refold.journal.memory_store import MemoryJournal
from refold.journal.sequencer import Sequencer
from tests.simulator.disk import Disk

BATCH_MAX = 256
PROBE_SECONDS = 1.0
Result = Appended | JournalError
_Waiting = tuple[asyncio.Future[Appended], Commit]


class SimulatedStore(MemoryJournal):
    """See `Journal` for what each method promises. One life of one process on a disk."""

    def __init__(
        self,
        journal_id: str,
        clock: Clock,
        disk: Disk,
        dice: Random,
        queue_max: int,
    ) -> None:
        super().__init__(journal_id, clock, lambda: dice.randbytes(SALT_BYTES))
        self.disk = disk
        self._dice = dice
        self._ledger = disk.ledger
        self._sequencer = Sequencer(journal_id, disk.ledger, lambda: dice.randbytes(SALT_BYTES))
        self._head = disk.head
        self.figures = JournalFigures()
        self.queue_max = queue_max
        self._queue: deque[_Waiting] = deque()
        self._group: list[_Waiting] = []
        self._group_at = 0
        self._accepted = self._delivered = 0
        self._deliver_at = 0.0
        self._settling: list[tuple[int, asyncio.Future[None]]] = []
        self._room = asyncio.Event()
        self._is_committing = False
        self._writable = True
        self._closed = False
        self.is_dead = False
        """Whether the process was killed: nothing it does reaches the disk any more."""

    @property
    def head(self) -> int:
        """The newest position that was announced."""
        return self._head

    @property
    def is_writable(self) -> bool:
        """False from a commit that the disk refused until it takes one."""
        return self._writable and not self._closed

    @property
    def queued_total(self) -> int:
        """How many appends are on their way."""
        return self._accepted - self._delivered

    async def append(self, commit: Commit, *, patient: bool = False) -> Appended:
        """Queue a commit and return its events once they are durable."""
        while not self._closed and self.queued_total >= self.queue_max:
            if not patient:
                raise OverloadedError("the journal's queue is full")
            self._room.clear()
            await self._room.wait()
        if self._closed:
            raise StoreClosedError("the journal is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Appended] = loop.create_future()
        self._accepted += 1
        self._queue.append((future, commit))
        if not self._is_committing:
            self._is_committing = True
            loop.call_soon(self._take)
        return await future

    def die(self, *, is_committed: bool) -> None:
        """End with the process; a commit that was under way may be durable all the same."""
        was_dead, self.is_dead, self._closed = self.is_dead, True, True
        if is_committed and self._group and not was_dead:
            self._written()

    def close(self) -> None:
        """Refuse further appends."""
        self._closed = True
        self._room.set()

    # The writer

    def _take(self) -> None:
        if self.is_dead:
            return
        while self._queue and len(self._group) < BATCH_MAX:
            self._group.append(self._queue.popleft())
        self._group_at = max(self._clock.now_us(), self.disk.last_at)
        asyncio.get_running_loop().call_later(self.disk.seconds(), self._end_commit)

    def _end_commit(self) -> None:
        if self.is_dead:
            return
        results = self._written()
        loop = asyncio.get_running_loop()
        # The way to the loop's thread takes a moment, and nothing overtakes on it.
        self._deliver_at = max(self._deliver_at, loop.time() + self._dice.choice((0.0, 0.0, 0.001)))
        loop.call_at(self._deliver_at, self._deliver, results)
        if self._queue:
            loop.call_soon(self._take)
        else:
            self._is_committing = False

    def _written(self) -> list[tuple[asyncio.Future[Appended], Result]]:
        group, self._group = self._group, []
        results: list[tuple[asyncio.Future[Appended], Result]] = []
        try:
            self.disk.refuse()
        except JournalError as error:
            if self._writable and not self.is_dead:
                asyncio.get_running_loop().call_later(PROBE_SECONDS, self._probe)
            self._writable = False
            return [(future, error) for future, _ in group]
        for future, commit in group:
            try:
                made = self._sequencer.sequence(commit, self.disk.head, self._group_at)
            except JournalError as error:
                results.append((future, error))
                continue
            if isinstance(made, Appended):
                results.append((future, made))
                continue
            self.disk.write(commit, made, self._group_at)
            results.append((future, Appended([row.event for row in made.rows])))
        self.disk.sync()
        self._writable = True
        return results

    def _probe(self) -> None:
        """Try with an empty commit whether the disk takes one again."""
        if self.is_dead or self._writable:
            return
        try:
            self.disk.refuse()
            self._writable = True
        except JournalError:
            asyncio.get_running_loop().call_later(PROBE_SECONDS, self._probe)

    def _deliver(self, results: Sequence[tuple[asyncio.Future[Appended], Result]]) -> None:
        if self.is_dead:
            return
        self._delivered += len(results)
        self._room.set()
        events: list[Recorded] = []
        for _, result in results:
            if isinstance(result, Appended) and not result.repeated:
                events.extend(result.events)
        if events:
            self._head = events[-1].position
            self.figures.committed(events)
            self._subscriptions.notify(events)
        for waits in [waits for waits in self._settling if waits[0] <= self._delivered]:
            self._settling.remove(waits)
            if not waits[1].done():
                waits[1].set_result(None)
        for future, result in results:
            if future.done():
                continue
            if isinstance(result, JournalError):
                future.set_exception(result)
            else:
                future.set_result(result)

    # Reads, each of which is a hop to another thread and back

    async def _read(self) -> None:
        await asyncio.sleep(self._dice.choice((0.0, 0.0, 0.0, 0.0005)))
        self.disk.refuse_read()

    async def read_stream(
        self, stream: str, after: int = 0, limit: int = PAGE
    ) -> Sequence[Recorded]:
        """Read a stream's events with a version greater than `after`, in order."""
        await self._read()
        return await super().read_stream(stream, after, limit)

    async def read_all(self, after: int = 0, limit: int = PAGE) -> Sequence[Recorded]:
        """Read the events after a position, in order."""
        await self._read()
        return await super().read_all(after, limit)

    async def read_bodies(self, positions: Sequence[int]) -> dict[int, Body]:
        """Read the bodies at these positions."""
        await self._read()
        return await super().read_bodies(positions)

    async def read_stored_bodies(self, positions: Sequence[int]) -> dict[int, Body]:
        """Read bodies as the bytes that were committed to."""
        return await self.read_bodies(positions)

    async def read_entries(self, positions: Sequence[int]) -> dict[int, bytes]:
        """Read the entries at these positions as the bytes that were hashed."""
        await self._read()
        return {p: self.disk.entries[p - 1] for p in positions if 0 < p <= self.disk.head}

    async def standing(self, positions: Sequence[int]) -> dict[int, int]:
        """Return which of these positions hold bodies of their own, and their bytes."""
        await self._read()
        return await super().standing(positions)

    async def standing_in(self, streams: Sequence[str]) -> dict[str, Standing]:
        """Return where the bodies of streams' own events stand."""
        await self._read()
        return await super().standing_in(streams)

    async def tagged(self, subject: str, after: int = 0, limit: int = PAGE) -> Sequence[Recorded]:
        """Read the events whose unerased bodies have this data subject."""
        await self._read()
        return await super().tagged(subject, after, limit)

    async def unfinished(self, runs: Sequence[str]) -> list[str]:
        """Return those of these runs that have begun and not ended."""
        await self._read()
        return await super().unfinished(runs)

    async def erased_from_files(self, seconds: float) -> bool:
        """Return True: what was erased here is gone at once."""
        del seconds
        await self._read()
        return True

    async def read_segments(self, positions: Sequence[int]) -> dict[int, str]:
        """Return which segment holds each of these bodies."""
        await self._read()
        return await super().read_segments(positions)

    async def position_at(self, at_us: int) -> int | None:
        """Return the newest position that was committed by a time."""
        if at_us >= self._clock.now_us():
            return None
        if self._delivered < self._accepted:
            settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._settling.append((self._accepted, settled))
            await settled
        await self._read()
        return await super().position_at(at_us)

    async def requested(self, request: RequestKey) -> Appended | None:
        """Return what an idempotency key made before."""
        await self._read()
        return await super().requested(request)

    async def holds(self) -> Sequence[Hold]:
        """List what is in use."""
        await self._read()
        return await super().holds()

    async def key_event(self) -> Recorded | None:
        """Return the newest event that says which service key is in use."""
        await self._read()
        return await super().key_event()
