"""What a subscriber is still to be told, one lane a stream, and how far it has come. Pure.

Events of one stream go one batch after the other, those of different streams side by side. The
position counts as reached when everything up to it was taken, but for the backlog: it is what
deliveries go on from after a crash, so that what was taken twice is possible and what was never
taken isn't.

A lane holds few events in memory. What there is no room for, and all of a lane that waits because
it was refused, is its rest: a piece of its stream that is read when its turn comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from ..journal.envelope import Recorded

WAITING_MAX: Final = 2000
"""How many events are held in memory for one subscription, until nothing new is looked for."""
LANE_MAX: Final = 200
"""How many of them are of one stream at most."""
LATER_MAX: Final = 2000
"""How many streams wait for their next try, until nothing new is looked for."""
BACKLOG_MAX: Final = 200
"""How many streams hold up the position no more at most, because they were refused."""


class Rest(msgspec.Struct):
    """A piece of a stream that is still to be read: after a version, between two positions."""

    version: int
    first: int
    last: int


class Lane:
    """The events of one stream that wait, oldest first."""

    def __init__(self, stream: str) -> None:
        self.stream: Final = stream
        self.events: Final[deque[Recorded]] = deque()
        self.rest: Rest | None = None
        """What follows on `events`."""
        self.owed_to = 0
        """Up to this position it is backlog, and does not hold up the subscription's."""
        self.tries = 0
        """How often the first ones were refused."""
        self.failed_at: int | None = None
        """How many batches of others were taken when it failed last, None if it did not."""
        self.not_before = 0
        """When they are tried again, in microseconds."""

    @property
    def first(self) -> int:
        """The position of the first event that waits, 0 if none does."""
        if self.events:
            return self.events[0].position
        return self.rest.first if self.rest is not None else 0

    @property
    def first_new(self) -> int:
        """The position of the first one that is no backlog, or one before it; 0 if none is."""
        for event in self.events:
            if event.position > self.owed_to:
                return event.position
        if self.rest is not None and self.rest.last > self.owed_to:
            return max(self.rest.first, self.owed_to + 1)
        return 0


class Lanes:
    """The lanes of one subscription."""

    def __init__(self, position: int) -> None:
        """Stand where everything up to a position was looked at."""
        self.looked_at = position
        """Up to here events were put in, or are none of the subscriber's business."""
        self._lanes: dict[str, Lane] = {}
        self._ready: dict[str, Lane] = {}
        """Those that may be delivered from, in the order in which they came to be so."""
        self._later: dict[str, Lane] = {}
        """Those that wait for their next try."""
        self._soonest = 0
        """When the first of these is due."""
        self.waiting = 0
        """How many events wait in memory, those on the wire included."""

    @property
    def has_room(self) -> bool:
        """Whether there is room for more."""
        return self.waiting < WAITING_MAX and len(self._later) < LATER_MAX

    def put(self, event: Recorded) -> None:
        """Add a new event to the lane of its stream."""
        lane = self._lane(event.stream)
        if lane.rest is not None:
            if lane.rest.last <= lane.owed_to:
                # None of it was new until now, so the position needs to go back to none of it.
                lane.owed_to = event.position - 1
            lane.rest.last = event.position
        elif len(lane.events) >= LANE_MAX:
            lane.rest = Rest(event.version - 1, event.position, event.position)
        else:
            lane.events.append(event)
            self.waiting += 1

    def owe(self, stream: str, first: int) -> None:
        """Add the backlog of a stream, of which nothing waits, from a position on."""
        if first <= self.looked_at:
            lane = self._lane(stream)
            lane.rest = Rest(0, first, self.looked_at)
            lane.owed_to = self.looked_at

    def fill(
        self, lane: Lane, found: Sequence[Recorded], version: int, last: int, *, is_all: bool
    ) -> None:
        """Take in what was read of a lane's rest up to a version; `last` was the rest's then."""
        assert lane.rest is not None, "there was something to read"
        assert not lane.events, "what is read follows on what waits"
        lane.events.extend(found)
        self.waiting += len(found)
        if is_all and lane.rest.last == last:
            lane.rest = None
        else:
            lane.rest.version = version
            lane.rest.first = last + 1 if is_all else found[-1].position + 1

    def take(self, now: int) -> Lane | None:
        """Take a lane to deliver from, None where there is none now."""
        if self._later and self._soonest <= now:
            for lane in [lane for lane in self._later.values() if lane.not_before <= now]:
                del self._later[lane.stream]
                self._ready[lane.stream] = lane
            self._soonest = min((lane.not_before for lane in self._later.values()), default=0)
        first = next(iter(self._ready), None)
        return None if first is None else self._ready.pop(first)

    def next_due(self) -> int | None:
        """Return when there is a lane to take, None where that depends on others."""
        if self._ready:
            return 0
        return self._soonest if self._later else None

    def put_back(self, lane: Lane, not_before: int = 0) -> None:
        """Give back a lane of which nothing was taken, to be tried again at a time."""
        lane.not_before = not_before
        if not not_before:
            self._ready[lane.stream] = lane
            return
        self._soonest = min(self._soonest, not_before) if self._later else not_before
        self._later[lane.stream] = lane

    def hold(self, lane: Lane, not_before: int) -> None:
        """Give back a lane that was refused: it takes up no memory, and holds up no position."""
        if lane.events:
            events, rest = lane.events, lane.rest
            last = events[-1].position if rest is None else rest.last
            lane.rest = Rest(events[0].version - 1, events[0].position, last)
            self.waiting -= len(events)
            events.clear()
        if lane.owed_to or len(self.backlog) < BACKLOG_MAX:
            lane.owed_to = self.looked_at
        self.put_back(lane, not_before)

    def taken(self, lane: Lane, count: int) -> None:
        """Give back a lane of which the subscriber took the first events."""
        for _ in range(count):
            lane.events.popleft()
        self.waiting -= count
        lane.tries, lane.failed_at, lane.not_before = 0, None, 0
        if lane.first:
            self._ready[lane.stream] = lane
        else:
            del self._lanes[lane.stream]

    def drop(self, lane: Lane) -> None:
        """Forget a lane that was taken: no more is sent of its stream."""
        self.waiting -= len(lane.events)
        del self._lanes[lane.stream]

    @property
    def position(self) -> int:
        """The position up to which everything was taken, but for the backlog."""
        firsts = [first for lane in self._lanes.values() if (first := lane.first_new)]
        return min(firsts, default=self.looked_at + 1) - 1

    @property
    def backlog(self) -> dict[str, int]:
        """By stream, from which position on events are owed that the position has passed."""
        return {
            lane.stream: lane.first
            for lane in self._lanes.values()
            if 0 < lane.first <= lane.owed_to
        }

    def _lane(self, stream: str) -> Lane:
        lane = self._lanes.get(stream)
        if lane is None:
            lane = self._lanes[stream] = self._ready[stream] = Lane(stream)
        return lane
