"""The `Journal` in memory: the same rules, no disk.

For simulation and property tests, which need thousands of journals and may kill one at any
event; it passes the same conformance tests as the SQLite store.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence

from . import ids
from .claims import SIGN
from .clock import Clock
from .envelope import Recorded
from .events import JournalCreated, KeyRotated, SegmentArchived
from .journal import PAGE, Appended, Body, Commit, Hold, RequestKey, Standing, Subscriber, Types
from .sequencer import EMPTY, Head, Sequenced, Sequencer, TakenRequest, is_remembered
from .subscriptions import Subscriptions


class MemoryLedger:
    """What the rules look up, in plain dictionaries."""

    def __init__(self) -> None:
        self.events: list[Recorded] = []
        self.streams: defaultdict[str, list[Recorded]] = defaultdict(list)
        self.requests: dict[tuple[str, str], TakenRequest] = {}
        self.holds: defaultdict[str, set[str]] = defaultdict(set)
        """What each holder holds."""
        self.bodies: dict[int, Body] = {}
        self.subjects: dict[int, str] = {}
        """The data subjects of bodies, by position."""
        self.segments: dict[int, str] = {}
        """Which segment holds each archived body."""

    def head(self, stream: str) -> Head:
        """Return a stream's head, `EMPTY` if nothing was ever written to it."""
        events = self.streams.get(stream)
        return (events[-1].version, events[-1].leaf.hex()) if events else EMPTY

    def taken(self, scope: str, key: str) -> TakenRequest | None:
        """Return the commit that took an idempotency key last."""
        return self.requests.get((scope, key))

    def holder(self, resource: str) -> str | None:
        """Return one of the streams that hold a resource, if any."""
        return min((who for who, held in self.holds.items() if resource in held), default=None)

    def bodied(self, position: int) -> Recorded | None:
        """Return the event at a position if a body of its own is not erased."""
        there = position in self.bodies or position in self.segments
        return self.events[position - 1] if there else None

    def is_archived(self, position: int) -> bool:
        """Tell whether the body at a position is in a segment."""
        return position in self.segments

    def between(self, first: int, last: int) -> Sequence[Recorded]:
        """Read the events of a range of positions, both ends included."""
        return self.events[first - 1 : last]

    def versions(self, stream: str, after: int, count: int) -> Sequence[Recorded]:
        """Read `count` events of a stream after a version."""
        return self.streams.get(stream, [])[after : after + count]


class MemoryJournal:
    """See `Journal` for what each method promises. Durable as long as the object lives."""

    def __init__(self, journal_id: str, clock: Clock, salt: Callable[[], bytes]) -> None:
        self._id = journal_id
        self._clock = clock
        self._ledger = MemoryLedger()
        self._sequencer = Sequencer(journal_id, self._ledger, salt)
        self._subscriptions = Subscriptions()
        self._last_at = 0

    @property
    def id(self) -> str:
        """The journal's own id, in every entry."""
        return self._id

    @property
    def head(self) -> int:
        """The newest position."""
        return len(self._ledger.events)

    async def append(self, commit: Commit, *, patient: bool = False) -> Appended:
        """Keep a commit and return its events; there is no queue, so nobody is refused."""
        del patient
        at = max(self._clock.now_us(), self._last_at)
        made = self._sequencer.sequence(commit, self.head, at)
        if isinstance(made, Appended):
            return made
        self._last_at = at
        keep(self._ledger, made)
        events = [row.event for row in made.rows]
        self._subscriptions.notify(events)
        return Appended(events)

    async def read_stream(
        self, stream: str, after: int = 0, limit: int = PAGE
    ) -> Sequence[Recorded]:
        """Read a stream's events with a version greater than `after`, in order."""
        return list(self._ledger.versions(stream, after, limit))

    async def read_all(self, after: int = 0, limit: int = PAGE) -> Sequence[Recorded]:
        """Read the events after a position, in order."""
        return self._ledger.events[after : after + limit]

    async def read_bodies(self, positions: Sequence[int]) -> dict[int, Body]:
        """Read the bodies at these positions."""
        bodies = self._ledger.bodies
        return {p: bodies[p] for p in positions if p in bodies}

    async def standing(self, positions: Sequence[int]) -> dict[int, int]:
        """Return which of these positions hold bodies of their own, and their bytes."""
        bodies, segments = self._ledger.bodies, self._ledger.segments
        sizes = {p: len(bodies[p].data) for p in positions if p in bodies}
        return dict(sorted((sizes | {p: 0 for p in positions if p in segments}).items()))

    async def standing_in(self, streams: Sequence[str]) -> dict[str, Standing]:
        """Return where the bodies of streams' own events stand; one without any is missing."""
        made: dict[str, Standing] = {}
        for stream in streams:
            events = self._ledger.streams.get(stream, [])
            own = [event.position for event in events if event.body_at == event.position]
            if own:
                sizes = await self.standing(own)
                made[stream] = Standing(sizes, len(own) - len(sizes))
        return made

    async def tagged(self, subject: str, after: int = 0, limit: int = PAGE) -> Sequence[Recorded]:
        """Read the events after a position whose unerased bodies have this data subject."""
        subjects = self._ledger.subjects
        found = sorted(p for p, whose in subjects.items() if whose == subject and p > after)
        return [self._ledger.events[position - 1] for position in found[:limit]]

    async def unfinished(self, runs: Sequence[str]) -> list[str]:
        """Return those of these runs that have begun and not ended."""
        return [run for run in runs if self._ledger.holds.get(run)]

    async def read_segments(self, positions: Sequence[int]) -> dict[int, str]:
        """Return which segment holds each of these bodies; one that is in none is missing."""
        segments = self._ledger.segments
        return {p: segments[p] for p in positions if p in segments}

    async def position_at(self, at_us: int) -> int | None:
        """Return the newest position that was committed by a time, None if it has not come."""
        if at_us >= self._clock.now_us():
            return None
        return bisect_right(self._ledger.events, at_us, key=lambda event: event.at)

    async def requested(self, request: RequestKey) -> Appended | None:
        """Return what an idempotency key made before, None if it is free."""
        taken = self._ledger.taken(request.scope, request.key)
        if not is_remembered(taken, request, self._clock.now_us()):
            return None
        return Appended(self._ledger.between(taken.first, taken.last), repeated=True)

    async def holds(self) -> Sequence[Hold]:
        """List what is in use."""
        return [
            Hold(resource, holder)
            for holder, held in sorted(self._ledger.holds.items())
            for resource in sorted(held)
            if SIGN not in resource
        ]

    async def key_event(self) -> Recorded | None:
        """Return the newest event that says which service key is in use."""
        for event in reversed(self._ledger.streams.get(ids.SYS, [])):
            if isinstance(event.facts, (JournalCreated, KeyRotated)):
                return event
        return None

    def subscribe(self, subscriber: Subscriber, of: Types | None = None) -> Callable[[], None]:
        """Call `subscriber` with the events of each commit from now on, in order."""
        return self._subscriptions.add(subscriber, of)


def keep(ledger: MemoryLedger, made: Sequenced) -> None:
    """Enter the rows of a commit."""
    for row in made.rows:
        ledger.events.append(row.event)
        ledger.streams[row.event.stream].append(row.event)
        if row.body is not None and row.salt is not None:
            ledger.bodies[row.event.position] = Body(row.salt, row.body)
            if row.subject is not None:
                ledger.subjects[row.event.position] = row.subject
    for position in made.archived:
        said = ledger.events[made.gone_by - 1].facts
        del ledger.bodies[position]
        ledger.segments[position] = said.name if isinstance(said, SegmentArchived) else ""
    for position in made.erased:
        (ledger.bodies if position in ledger.bodies else ledger.segments).pop(position)
        ledger.subjects.pop(position, None)
    if made.request is not None:
        request, taken = made.request
        ledger.requests[request.scope, request.key] = taken
    for change in made.holds:
        if isinstance(change, Hold):
            ledger.holds[change.holder].add(change.resource)
        else:
            ledger.holds.pop(change, None)
