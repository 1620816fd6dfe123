"""Delivers events to one subscriber: at least once, and those of a stream in order.

| what a batch comes to      | what follows                                                      |
| -------------------------- | ----------------------------------------------------------------- |
| taken                      | the stream's next batch                                           |
| refused (4xx)              | the stream waits and tries again, others go on; after the last    |
|                            | try it is parked: no more is sent of it until a replay            |
| failed (500, 501, …)       | as unavailable; but where others are taken and it fails again, as |
|                            | refused                                                           |
| unavailable (502, 503,     | all wait; one batch at a time is tried until one is taken; after  |
| 504, 408, 425, 429, no     | the last try the subscription is parked whole. Where others are   |
| answer)                    | taken and it comes again, the stream waits alone                  |
| gone (410)                 | the subscription is parked whole                                  |

How far it has come is journaled now and then, not with each batch: after a crash a subscriber
sees the last seconds again. What waits alone is no part of that: it becomes backlog.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from itertools import islice
from typing import Final, NamedTuple

from ..journal import events as e
from ..journal.clock import Clock, IdSource
from ..journal.envelope import Recorded
from ..journal.errors import ConflictError, JournalError, StoreClosedError
from ..journal.journal import Commit, Journal, Metadata, NewEvent, StreamWrite
from ..projections.subscriptions_projection import Parked, SubscriptionRow, backlog_text
from .errors import BusyError
from .fault_text import fault_text
from .inflow import Inflow, Wanted
from .lanes import Lane, Lanes
from .subscriber import EVENTS_MAX, Subscriber, Verdict
from .subscriber_batch import read_batch

TRIES_MAX: Final = 12
"""How often a batch is tried: with the waits below for about an hour."""
FIRST_WAIT_US: Final = 1_000_000
LONGEST_WAIT_US: Final = 600_000_000
ON_WIRE_MAX: Final = 8
"""Most batches of one subscription at a time."""
PARKED_MAX: Final = 200
"""Most streams of a subscription that are parked by themselves; one more parks it whole."""
NOTE_EVERY_US: Final = 5_000_000
NOTE_AFTER: Final = 20_000
"""How many positions are passed at most, without anything to deliver, before it is noted."""
_log = logging.getLogger("refold.subscriptions")


class _Replay(NamedTuple):
    """Somebody wants what was parked to be sent again."""

    meta: Metadata
    body: bytes
    done: asyncio.Future[None]

    def accept(self) -> None:
        """Tell that it is durable."""
        if not self.done.done():
            self.done.set_result(None)

    def refuse(self) -> None:
        """Tell that nothing came of it, as far as is known."""
        if not self.done.done():
            self.done.set_exception(BusyError("The replay can't be noted now; try again later."))


class _Send(NamedTuple):
    """A batch on the wire, and how many troubles there had been when it was sent."""

    lane: Lane
    troubles_total: int


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
        self._sends: dict[asyncio.Task[tuple[Verdict, int]], _Send] = {}
        self._taken_total = 0
        self._troubles_total = 0
        self._troubles = 0
        """How often in a row the subscriber could not be reached."""
        self._not_before = 0
        self._replays: list[_Replay] = []
        self._has_delivered = False
        self._is_stopping = False
        self._look_again_at = 0
        self._wake = asyncio.Event()

    @property
    def parked_total(self) -> int:
        """How many streams are parked."""
        return len(self._parked)

    @property
    def is_whole_parked(self) -> bool:
        """Whether nothing at all is sent until a replay."""
        return "" in self._parked

    def offer(self, events: Sequence[Recorded]) -> None:
        """Tell of the tenant's events that have just become durable."""
        if self._inflow.offer(events) and not self.is_whole_parked:
            self._wake.set()

    def look_up(self) -> None:
        """Look how far the journal has come, which is passed over without being told of it."""
        self._wake.set()

    async def replay(self, meta: Metadata, body: bytes) -> None:
        """Send again what was parked; returns once that is durable.

        Raises:
            BusyError: the subscription is deleted, the service is stopping, or its disk refuses.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._replays.append(_Replay(meta, body, done))
        self._wake.set()
        await done

    def stop(self) -> None:
        """Send nothing new; what is on the wire may finish, and how far it came is noted."""
        self._is_stopping = True
        self._wake.set()

    # The loop

    async def run(self) -> None:
        """Deliver until stopped.

        Raises:
            ConflictError: somebody else wrote to the stream; most probably it is deleted.
            JournalError: begin anew.
        """
        try:
            for stream, first in self._row.backlog.items():
                if stream not in self._parked:
                    self._lanes.owe(stream, first)
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
        except StoreClosedError as error:
            _log.info("subscription %s is told no more: %s", self._row.subscription_id, error)
        finally:
            for task in self._sends:
                task.cancel()
            for replay in self._replays:
                replay.refuse()

    async def _wait(self) -> None:
        due: list[int] = []
        is_full = len(self._sends) >= self._sends_max
        next_due = None if is_full or self.is_whole_parked else self._lanes.next_due()
        if next_due is not None:
            due.append(max(next_due, self._not_before))
        if self._has_news:
            due.append(self._noted_at + NOTE_EVERY_US)
        if self._may_look and self._inflow.has_more(self._lanes.looked_at):
            due.append(self._look_again_at)
        seconds = (min(due) - self._clock.now_us()) / 1e6 if due else None
        try:
            async with asyncio.timeout(seconds if seconds is None else max(0.0, seconds)):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    # What is new

    @property
    def _may_look(self) -> bool:
        return self._lanes.has_room and not self.is_whole_parked

    async def _look_for_more(self) -> None:
        """Put what is new into the lanes, of a long history a page: the rest has its own turn."""
        lanes = self._lanes
        is_early = self._clock.now_us() < self._look_again_at
        if is_early or not self._may_look or lanes.looked_at >= self._journal.head:
            return
        try:
            found, reached = await self._inflow.after(lanes.looked_at)
        except StoreClosedError:
            raise
        except JournalError as error:
            # A disk that refuses, or an event that this version can't read: nothing is skipped.
            _log.warning("subscription %s: %s", self._row.subscription_id, error)
            self._look_again_at = self._clock.now_us() + FIRST_WAIT_US
            return
        for event in found:
            if event.stream not in self._parked:
                lanes.put(event)
        lanes.looked_at = reached

    # Sending

    @property
    def _sends_max(self) -> int:
        return 1 if self._troubles else ON_WIRE_MAX

    def _send(self) -> None:
        now = self._clock.now_us()
        if self.is_whole_parked or now < self._not_before:
            return
        while len(self._sends) < self._sends_max:
            lane = self._lanes.take(now)
            if lane is None:
                return
            task = asyncio.create_task(self._deliver(lane))
            self._sends[task] = _Send(lane, self._troubles_total)
            task.add_done_callback(lambda _: self._wake.set())

    async def _deliver(self, lane: Lane) -> tuple[Verdict, int]:
        """Send a batch of a lane's first events; return what came of it and how many they were."""
        if not lane.events and lane.rest is not None:
            rest, last = lane.rest, lane.rest.last
            found, version, is_all = await self._inflow.between(
                lane.stream, rest.version, rest.first, last, EVENTS_MAX
            )
            self._lanes.fill(lane, found, version, last, is_all=is_all)
        if not lane.events:
            return Verdict("taken"), 0
        events = list(islice(lane.events, EVENTS_MAX))
        batch = await read_batch(self._journal, events, with_bodies=self._with_bodies)
        id_ = f"{self._row.subscription_id}-{events[0].position}-{batch.count}"
        return await self._subscriber.send(id_, self._clock.now_us(), batch.written), batch.count

    async def _take_results(self) -> None:
        for task in [task for task in self._sends if task.done()]:
            send = self._sends.pop(task)
            lane = send.lane
            try:
                verdict, count = task.result()
            except JournalError as error:  # It could not be read now, whoever is told.
                _log.warning("subscription %s: %s", self._row.subscription_id, error)
                self._lanes.put_back(lane, self._clock.now_us() + FIRST_WAIT_US)
                continue
            except Exception as error:
                told = fault_text(error)
                _log.error("subscription %s: a batch failed: %s", self._row.subscription_id, told)
                await self._retry_or_park(lane, "internal_error")
                continue
            if verdict.kind == "taken":
                self._lanes.taken(lane, count)
                if count:
                    self._taken_total += 1
                    self._troubles, self._not_before, self._has_delivered = 0, 0, True
            elif verdict.kind == "refused":
                self._troubles, self._not_before = 0, 0
                await self._retry_or_park(lane, verdict.code)
            else:
                await self._take_trouble(send, verdict)

    async def _take_trouble(self, send: _Send, verdict: Verdict) -> None:
        """Tell whose trouble it is, the batch's or the subscriber's, and wait or park."""
        lane, may_be_its_own = send.lane, verdict.kind == "failed"
        others_go_on = lane.failed_at is not None and lane.failed_at < self._taken_total
        if verdict.kind != "gone" and (others_go_on or (may_be_its_own and lane.tries)):
            await self._retry_or_park(lane, verdict.code, may_park=may_be_its_own)
            return
        lane.failed_at = self._taken_total
        self._lanes.put_back(lane)
        if send.troubles_total == self._troubles_total:
            # Those that were on the wire together had one trouble together.
            self._troubles_total += 1
            self._troubles += 1
            self._not_before = self._clock.now_us() + _wait_us(self._troubles)
        is_over = self._troubles >= TRIES_MAX or verdict.kind == "gone"
        if is_over and not self.is_whole_parked:
            await self._park("", lane, verdict.code)

    async def _retry_or_park(self, lane: Lane, code: str, *, may_park: bool = True) -> None:
        lane.tries += 1
        lane.failed_at = self._taken_total
        target = "" if len(self._parked) >= PARKED_MAX else lane.stream
        is_over = may_park and lane.tries >= TRIES_MAX and not self.is_whole_parked
        if is_over and await self._park(target, lane, code) and target:
            self._lanes.drop(lane)
        else:
            self._lanes.hold(lane, self._clock.now_us() + _wait_us(lane.tries))

    async def _park(self, target: str, lane: Lane, code: str) -> bool:
        """Park a stream, "" for all; False where that can't be journaled now."""
        position = lane.first
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
            event = NewEvent(self._ids.new(), facts, replay.body, replay.meta.actor)
            noted = await self._append(event, replay.meta)
            self._replays.pop(0)
            if not noted:
                replay.refuse()
                continue
            self._parked.clear()
            self._troubles, self._not_before = 0, 0
            for stream, first in parked.items():
                self._lanes.owe(stream, first)
            replay.accept()

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
            # One that does not answer may use up all the time that there is.
            await self._note(at_once=True)
            await asyncio.wait(self._sends)
            await self._take_results()
        await self._note(at_once=True)

    async def _append(self, event: NewEvent, meta: Metadata) -> bool:
        """Append to the subscription's stream; False where the store refuses it now.

        Raises:
            ConflictError: somebody else wrote there; most probably it is deleted.
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
