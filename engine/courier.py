"""Delivers events to one subscriber: at least once, and those of a stream in order.

| what a batch comes to      | what follows                                                      |
| -------------------------- | ----------------------------------------------------------------- |
| taken                      | the stream's next batch                                           |
| refused (4xx)              | the stream waits and tries again, others go on; after the last    |
|                            | try it is parked: no more is sent of it until a replay            |
| unavailable (5xx, no       | all wait; one batch at a time is tried until one is taken; after  |
| answer, 408, 425, 429)     | the last try the subscription is parked whole                     |
| gone (410)                 | the subscription is parked whole                                  |

How far it has come is journaled now and then, not with each batch: after a crash a subscriber
sees the last seconds again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from itertools import islice
from typing import Final

import msgspec

from ..journal import events as e
from ..journal.clock import Clock, IdSource
from ..journal.envelope import Recorded
from ..journal.errors import ConflictError, JournalError, StoreClosedError
from ..journal.journal import Body, Commit, Journal, Metadata, NewEvent, StreamWrite
from ..projections.subscriptions_projection import Parked, SubscriptionRow, backlog_text
from .inflow import Inflow, Wanted
from .lanes import Lane, Lanes
from .subscriber import EVENTS_MAX, Subscriber, Verdict, batch_of, write_batch

TRIES_MAX: Final = 12
"""How often a batch is tried: with the waits below for about an hour."""
FIRST_WAIT_US: Final = 1_000_000
LONGEST_WAIT_US: Final = 600_000_000
ON_WIRE_MAX: Final = 8
"""Most batches of one subscription at a time."""
WAITING_MAX: Final = 2000
"""Most events that are held in memory for one subscription."""
PARKED_MAX: Final = 200
"""Most streams of a subscription that are parked by themselves; one more parks it whole."""
NOTE_EVERY_US: Final = 5_000_000
NOTE_AFTER: Final = 20_000
"""How many positions are passed at most, without anything to deliver, before it is noted."""
_log = logging.getLogger("refold.subscriptions")


class Replay(msgspec.Struct, frozen=True):
    """Somebody wants what was parked to be sent again."""

    meta: Metadata
    body: bytes
    done: asyncio.Future[None]


class Courier:
    """Tells one subscriber; `run` goes on until it is cancelled or the subscription is deleted."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        ids: IdSource,
        row: SubscriptionRow,
        wanted: Wanted,
        subscriber: Subscriber,
    ) -> None:
        """Go on from where the row stands."""
        self._journal = journal
        self._clock = clock
        self._ids = ids
        self._row = row
        self._inflow = Inflow(journal, row.tenant, wanted)
        self._with_bodies = wanted.with_bodies
        self._subscriber = subscriber
        self._lanes = Lanes(row.position)
        self._parked = {parked.stream: parked for parked in row.parked}
        self._version = row.version
        self._noted = (row.position, backlog_text(row.backlog))
        self._noted_at = clock.now_us()
        self._sends: dict[asyncio.Task[tuple[Verdict, int]], Lane] = {}
        self._troubles = 0
        """How often in a row the subscriber could not be reached."""
        self._not_before = 0
        self._replays: list[Replay] = []
        self._has_delivered = False
        self._is_stopping = False
        self._look_again_at = 0
        self._wake = asyncio.Event()

    def offer(self, events: Sequence[Recorded]) -> None:
        """Tell of events that have just become durable."""
        self._inflow.offer(events)
        self._wake.set()

    async def replay(self, meta: Metadata, body: bytes) -> None:
        """Send again what was parked; returns once that is durable.

        Raises:
            ConflictError: the subscription is deleted.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._replays.append(Replay(meta, body, done))
        self._wake.set()
        await done

    def stop(self) -> None:
        """Send nothing new; what is on the wire may finish, and how far it came is noted."""
        self._is_stopping = True
        self._wake.set()

    # The loop

    async def run(self) -> None:
        """Deliver until stopped."""
        try:
            await self._owe(self._row.backlog)
            while True:
                await self._take_results()
                if self._is_stopping:
                    break
                await self._take_replays()
                await self._look_for_more()
                self._send()
                await self._note()
                await self._wait()
            await self._finish()
        except (ConflictError, StoreClosedError) as error:
            _log.info("subscription %s is told no more: %s", self._row.subscription_id, error)
        finally:
            for task in self._sends:
                task.cancel()
            for replay in self._replays:
                replay.done.cancel()

    async def _wait(self) -> None:
        due: list[int] = []
        is_full = len(self._sends) >= self._sends_max
        next_due = None if is_full or self._is_whole_parked else self._lanes.next_due()
        if next_due is not None:
            due.append(max(next_due, self._not_before))
        if self._has_news:
            due.append(self._noted_at + NOTE_EVERY_US)
        if self._look_again_at or self._replays:
            due.append(self._clock.now_us() + FIRST_WAIT_US)
        seconds = (min(due) - self._clock.now_us()) / 1e6 if due else None
        try:
            async with asyncio.timeout(seconds if seconds is None else max(0.0, seconds)):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    # What is new

    async def _look_for_more(self) -> None:
        self._look_again_at = 0
        try:
            await self._look()
        except StoreClosedError:
            raise
        except JournalError as error:
            # A disk that refuses, or an event that this version can't read: nothing is skipped.
            _log.warning("subscription %s: %s", self._row.subscription_id, error)
            self._look_again_at = self._clock.now_us() + FIRST_WAIT_US

    async def _look(self) -> None:
        """Put what is new into the lanes, a page at a time, as long as there is room."""
        lanes = self._lanes
        while (
            lanes.looked_at < self._journal.head
            and lanes.waiting < WAITING_MAX
            and not self._is_whole_parked
        ):
            for event in await self._inflow.after(lanes.looked_at):
                if event.stream not in self._parked and await self._inflow.has(event):
                    lanes.put(event)
                lanes.looked_at = event.position

    async def _owe(self, backlog: dict[str, int]) -> None:
        """Put the events of a backlog into their lanes again."""
        for stream, first in backlog.items():
            self._lanes.owe(await self._inflow.between(stream, first, self._lanes.looked_at))

    # Sending

    @property
    def _is_whole_parked(self) -> bool:
        return "" in self._parked

    @property
    def _sends_max(self) -> int:
        return 1 if self._troubles else ON_WIRE_MAX

    def _send(self) -> None:
        now = self._clock.now_us()
        if self._is_whole_parked or now < self._not_before:
            return
        while len(self._sends) < self._sends_max:
            lane = self._lanes.take(now)
            if lane is None:
                return
            task = asyncio.create_task(self._deliver(list(islice(lane.events, EVENTS_MAX))))
            self._sends[task] = lane
            task.add_done_callback(lambda _: self._wake.set())

    async def _deliver(self, events: list[Recorded]) -> tuple[Verdict, int]:
        """Send a batch of the first events; return what came of it and how many they were."""
        bodies: dict[int, Body] = {}
        archived: dict[int, str] = {}
        if self._with_bodies:
            wanted = [event.body_at for event in events if event.body_at]
            bodies = await self._journal.read_bodies(wanted)
            if missing := [position for position in wanted if position not in bodies]:
                archived = await self._journal.read_segments(missing)
        count = batch_of(events, bodies)
        body = write_batch(
            self._journal.id, events[:count], bodies, archived, with_bodies=self._with_bodies
        )
        id_ = f"{self._row.subscription_id}-{events[0].position}-{count}"
        return await self._subscriber.send(id_, self._clock.now_us(), body), count

    async def _take_results(self) -> None:
        for task in [task for task in self._sends if task.done()]:
            lane = self._sends.pop(task)
            try:
                verdict, count = task.result()
            except JournalError as error:
                # Its bodies could not be read now; that says nothing about the subscriber.
                _log.warning("subscription %s: %s", self._row.subscription_id, error)
                self._lanes.put_back(lane, self._clock.now_us() + FIRST_WAIT_US)
                continue
            if verdict.kind == "taken":
                self._troubles, self._not_before, self._has_delivered = 0, 0, True
                self._lanes.taken(lane, count)
            elif verdict.kind == "refused":
                self._troubles, self._not_before = 0, 0
                await self._retry_or_park(lane, verdict.code)
            else:
                await self._wait_or_park(lane, verdict)

    async def _retry_or_park(self, lane: Lane, code: str) -> None:
        lane.tries += 1
        is_one_too_many = len(self._parked) >= PARKED_MAX
        target = "" if is_one_too_many else lane.stream
        if lane.tries >= TRIES_MAX and await self._park(target, lane, code) and target:
            self._lanes.drop(lane)
        else:
            self._lanes.put_back(lane, self._clock.now_us() + _wait_us(lane.tries))

    async def _wait_or_park(self, lane: Lane, verdict: Verdict) -> None:
        self._troubles += 1
        self._not_before = self._clock.now_us() + _wait_us(self._troubles)
        self._lanes.put_back(lane)
        if self._troubles >= TRIES_MAX or verdict.kind == "gone":
            await self._park("", lane, verdict.code)

    async def _park(self, target: str, lane: Lane, code: str) -> bool:
        """Park a stream, "" for all; False where that can't be journaled now."""
        position = lane.events[0].position
        facts = e.SubscriptionParked(code=code[:64], position=position, target=target)
        if not await self._append(NewEvent(self._ids.new(), facts), self._own_metadata()):
            return False
        self._parked[target] = Parked(target, position, code[:64])
        _log.warning(
            "subscription %s: %s is parked at position %d (%s)",
            self._row.subscription_id,
            target or "everything",
            position,
            code,
        )
        return True

    # What is noted

    async def _take_replays(self) -> None:
        while self._replays:
            replay = self._replays[0]
            parked = {p.stream: p.position for p in self._parked.values() if p.stream}
            backlog = backlog_text({**self._lanes.backlog, **parked})
            facts = e.SubscriptionReplayed(backlog=backlog)
            try:
                noted = await self._append(
                    NewEvent(self._ids.new(), facts, replay.body), replay.meta
                )
            except ConflictError as error:
                replay.done.set_exception(error)
                self._replays.pop(0)
                raise
            if not noted:
                return
            self._replays.pop(0)
            self._parked.clear()
            self._troubles, self._not_before = 0, 0
            await self._owe(parked)
            if not replay.done.done():
                replay.done.set_result(None)

    @property
    def _has_news(self) -> bool:
        """Whether something was taken since it was last noted, or much was passed over."""
        return self._has_delivered or self._lanes.looked_at - self._noted[0] >= NOTE_AFTER

    async def _note(self, *, at_once: bool = False) -> None:
        """Journal how far the subscriber has come, where that is due."""
        is_due = at_once or self._clock.now_us() >= self._noted_at + NOTE_EVERY_US
        if not self._has_news or not is_due:
            return
        position, backlog = self._lanes.position, backlog_text(self._lanes.backlog)
        self._noted_at = self._clock.now_us()
        if (position, backlog) == self._noted:
            return
        facts = e.SubscriptionAdvanced(backlog=backlog, position=position)
        if await self._append(NewEvent(self._ids.new(), facts), self._own_metadata()):
            self._noted = (position, backlog)
            self._has_delivered = False

    async def _finish(self) -> None:
        """Let what is on the wire come to an end, and note how far that was."""
        if self._sends:
            await asyncio.wait(self._sends)
            await self._take_results()
        await self._note(at_once=True)

    async def _append(self, event: NewEvent, meta: Metadata) -> bool:
        """Append to the subscription's stream; False where the store refuses it now.

        Raises:
            ConflictError: somebody else wrote there: the subscription is deleted.
        """
        write = StreamWrite(self._row.subscription_id, self._version, [event], meta)
        try:
            await self._journal.append(Commit([write]), patient=True)
        except ConflictError:
            raise
        except JournalError as error:
            _log.warning("subscription %s: %s", self._row.subscription_id, error)
            return False
        self._version += 1
        return True

    def _own_metadata(self) -> Metadata:
        return Metadata(self._row.tenant, "", self._row.subscription_id)


def _wait_us(tries: int) -> int:
    """Return how long to wait after so many tries: doubled each time, from a second on."""
    return min(FIRST_WAIT_US << (tries - 1), LONGEST_WAIT_US)
