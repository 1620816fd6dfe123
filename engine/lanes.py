"""What a subscriber is still to be told, one lane a stream, and how far it has come. Pure.

Events of one stream go one batch after the other, those of different streams side by side. The
position counts as reached when everything up to it was taken: it is what deliveries go on from
after a crash, so that what was taken twice is possible and what was never taken isn't.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from ..journal.envelope import Recorded


class Lane:
    """The events of one stream that wait, oldest first."""

    def __init__(self, stream: str) -> None:
        self.stream: Final = stream
        self.events: Final[deque[Recorded]] = deque()
        self.owed = 0
        """How many of the first ones are backlog: the position has passed them already."""
        self.tries = 0
        """How often the first ones were refused."""
        self.not_before = 0
        """When they are tried again, in microseconds."""


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
        self.waiting = 0
        """How many events wait, those on the wire included."""

    def put(self, event: Recorded) -> None:
        """Add a new event to the lane of its stream."""
        self._lane(event.stream).events.append(event)
        self.waiting += 1

    def owe(self, events: Sequence[Recorded]) -> None:
        """Add the backlog of one stream, of which nothing waits, oldest first."""
        for event in events:
            lane = self._lane(event.stream)
            lane.events.append(event)
            lane.owed += 1
        self.waiting += len(events)

    def take(self, now: int) -> Lane | None:
        """Take a lane to deliver from, None where there is none now."""
        for lane in [lane for lane in self._later.values() if lane.not_before <= now]:
            del self._later[lane.stream]
            self._ready[lane.stream] = lane
        first = next(iter(self._ready), None)
        return None if first is None else self._ready.pop(first)

    def next_due(self) -> int | None:
        """Return when there is a lane to take, None where that depends on others."""
        if self._ready:
            return 0
        return min((lane.not_before for lane in self._later.values()), default=None)

    def put_back(self, lane: Lane, not_before: int = 0) -> None:
        """Give back a lane of which nothing was taken, to be tried again at a time."""
        lane.not_before = not_before
        (self._later if not_before else self._ready)[lane.stream] = lane

    def taken(self, lane: Lane, count: int) -> None:
        """Give back a lane of which the subscriber took the first events."""
        for _ in range(count):
            lane.events.popleft()
        lane.owed = max(0, lane.owed - count)
        lane.tries, lane.not_before = 0, 0
        self.waiting -= count
        if lane.events:
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
        firsts = [
            lane.events[lane.owed].position
            for lane in self._lanes.values()
            if len(lane.events) > lane.owed
        ]
        return min(firsts, default=self.looked_at + 1) - 1

    @property
    def backlog(self) -> dict[str, int]:
        """By stream, from which position on events are owed that the position has passed."""
        return {lane.stream: lane.events[0].position for lane in self._lanes.values() if lane.owed}

    def _lane(self, stream: str) -> Lane:
        lane = self._lanes.get(stream)
        if lane is None:
            lane = self._lanes[stream] = self._ready[stream] = Lane(stream)
        return lane
