"""The `Journal` interface: append with expectations, read a stream, read all, subscribe.

An append is one all-or-nothing commit over several streams. Everything that must be decided
without a race is decided in it, never from a view: versions, guards, what is still in use, and
whether a request was made before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Final, Protocol

import msgspec

from .envelope import Recorded
from .events import Facts

REQUEST_LIFE_US: Final = 24 * 3600 * 1_000_000
"""How long an idempotency key is remembered, from the first event's time."""
PAGE: Final = 1000
"""How many events a long read takes at a time."""
LATEST: Final = 2**63 - 1
"""A position that no event is beyond: as of it, everything is as it is now."""


class Metadata(msgspec.Struct, frozen=True, gc=False):
    """What the events of one write have in common."""

    tenant: str
    actor: str
    """HMAC of the subject under the tenant's key ("" where the service acts by itself)."""
    corr: str
    """The id of the request that all this goes back to."""
    cause: str = ""
    """The newest event that the decision had seen."""


class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """An event to append."""

    id: str
    facts: Facts
    body: bytes | None = None
    subject: str | None = None
    """The data subject whose erasure would reach the body."""
    src: str = ""
    """Of a replayed event: where it was copied from. Its body stays where it is."""
    payload: str = ""
    """Of a replayed event: the original's commitment."""
    body_at: int = 0
    """Of a replayed event: the position that holds its body."""


class StreamWrite(msgspec.Struct, frozen=True, gc=False):
    """Events for one stream, and the version that it must be at."""

    stream: str
    expected_version: int
    events: Sequence[NewEvent]
    meta: Metadata


class RequestKey(msgspec.Struct, frozen=True, gc=False):
    """An idempotency key: taken by the first commit that carries it, for `REQUEST_LIFE_US`."""

    scope: str
    key: str
    digest: str


class Commit(msgspec.Struct, frozen=True, gc=False):
    """One all-or-nothing append."""

    writes: Sequence[StreamWrite]
    guards: Sequence[tuple[str, int]] = ()
    """Streams that must be at exactly these versions, without being written to."""
    request: RequestKey | None = None
    unused: Sequence[str] = ()
    """Resources that nothing may hold: see `Hold`."""
    needs: Sequence[int] = ()
    """Positions that must still hold bodies of their own: what was read to decide by."""
    erased: Sequence[int] = ()
    """Positions, ascending, whose bodies go with this commit: see `erasing.py` for its rules."""
    archived: Sequence[int] = ()
    """Positions, ascending, whose bodies are in a segment from this commit on: see there too."""


class Appended(msgspec.Struct, frozen=True, gc=False):
    """What a commit made, or had made before."""

    events: Sequence[Recorded]
    repeated: bool = False
    """True where an earlier commit of the same request or the same events is the answer."""


class Body(msgspec.Struct, frozen=True, gc=False):
    """User data of one event, and the salt of its commitment."""

    salt: bytes
    data: bytes


class Standing(msgspec.Struct, frozen=True):
    """The bodies of a stream's own events; replayed ones stand elsewhere."""

    sizes: dict[int, int]
    """Positions of those that are not erased, ascending, and their bytes; 0 for an archived one."""
    erased: int = 0
    """How many are gone."""


class Hold(msgspec.Struct, frozen=True, gc=False):
    """A stream that keeps a resource in use: an unfinished run holds its workflow."""

    resource: str
    holder: str


Subscriber = Callable[[Sequence[Recorded]], None]
Types = Set[type[Facts]]


class Journal(Protocol):
    """An append-only journal with one global, gapless order.

    Whatever reads raises `UnknownEventError` for an event that is newer than this version. Events
    and bodies of older schemas come in their present form (upcasters.py).
    """

    @property
    def id(self) -> str:
        """The journal's own id, in every entry."""
        ...

    @property
    def head(self) -> int:
        """The newest durable position."""
        ...

    async def append(self, commit: Commit, *, patient: bool = False) -> Appended:
        """Make a commit durable and return its events.

        A caller that is cancelled never aborts a commit. `patient` callers wait for a place in
        the queue; others are refused when it is full.

        Raises:
            ConflictError: a stream or a guard is at another version.
            ResourceInUseError: a resource of `unused` is held.
            RequestReusedError: the request key was taken by another request.
            BodyErasedError: a body of `needs` is gone.
            InvalidCommitError: no entry can be made of it; a programmer's mistake.
            OverloadedError: the queue is full.
            StoreClosedError: the journal is closing.
            StoreFailedError: the disk refused; nothing was kept.
        """
        ...

    async def read_stream(
        self, stream: str, after: int = 0, limit: int = PAGE
    ) -> Sequence[Recorded]:
        """Read a stream's events with a version greater than `after`, in order."""
        ...

    async def read_all(self, after: int = 0, limit: int = PAGE) -> Sequence[Recorded]:
        """Read the events after a position, in order."""
        ...

    async def read_bodies(self, positions: Sequence[int]) -> dict[int, Body]:
        """Read the bodies at these positions; an erased or archived one is missing."""
        ...

    async def read_segments(self, positions: Sequence[int]) -> dict[int, str]:
        """Return which segment holds each of these bodies; one that is in none is missing."""
        ...

    async def standing(self, positions: Sequence[int]) -> dict[int, int]:
        """Return which of these positions hold bodies of their own, unerased, and their bytes.

        One that is in a segment counts, with 0 bytes.
        """
        ...

    async def standing_in(self, streams: Sequence[str]) -> dict[str, Standing]:
        """Return where the bodies of streams' own events stand; one without any is missing."""
        ...

    async def tagged(self, subject: str, after: int = 0, limit: int = PAGE) -> Sequence[Recorded]:
        """Read the events after a position whose unerased bodies have this data subject."""
        ...

    async def unfinished(self, runs: Sequence[str]) -> list[str]:
        """Return those of these runs that have begun and not ended."""
        ...

    async def position_at(self, at_us: int) -> int | None:
        """Return the newest position that was committed by a time in microseconds, 0 for none.

        None where the time has not come yet. A number stays the answer to its question for ever.
        """
        ...

    async def requested(self, request: RequestKey) -> Appended | None:
        """Return what an idempotency key made before, None if it is free.

        Raises:
            RequestReusedError: the key was taken by another request.
        """
        ...

    async def holds(self) -> Sequence[Hold]:
        """List what is in use: at a start, the unfinished runs. Claims of names are left out."""
        ...

    async def key_event(self) -> Recorded | None:
        """Return the newest `journal.created` or `key.rotated`: which service key is in use."""
        ...

    def subscribe(self, subscriber: Subscriber, of: Types | None = None) -> Callable[[], None]:
        """Call `subscriber` with the events of each commit from now on, in order.

        It is called on the event loop's thread, before the appending callers go on, once for
        each group of commits that became durable together, and must neither wait nor raise: an
        exception goes to the loop's handler and that subscriber has missed the group. With `of`
        it hears of events of these types only, and of no group without any. Returns the function
        that ends the subscription.
        """
        ...
