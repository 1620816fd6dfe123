"""The events that one subscriber is to be told, as they come or as they stand in the journal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ..journal import events as e
from ..journal.envelope import Recorded
from ..journal.ids import is_run, is_workflow
from ..journal.journal import PAGE, Journal

PREFIX: Final = "sub_"
"""What the streams of subscriptions begin with; nobody is told of them."""
_KNOWN_MAX: Final = 2000


class Wanted(msgspec.Struct, frozen=True):
    """What a subscriber is told."""

    types: frozenset[str]
    """The types of events, none for all."""
    workflow: str
    """Its own stream and its runs, "" for all."""
    with_bodies: bool


class Inflow:
    """Finds what a subscriber wants; of its own tenant alone.

    What is committed is kept in memory for the next look, and what there is no room for is read
    back. So a subscriber is not woken by what it does not want, and still misses nothing.
    """

    def __init__(self, journal: Journal, tenant: str, wanted: Wanted) -> None:
        """`offer` must be called with all that is committed to the tenant from now on."""
        self._journal = journal
        self._tenant = tenant
        self._wanted = wanted
        self._since = journal.head
        """All that may be wanted and came after this position is in memory."""
        self._fresh: list[Recorded] = []
        self._workflow_of: dict[str, str] = {}

    def offer(self, events: Sequence[Recorded]) -> bool:
        """Keep what has just become durable; tell whether any of it may be wanted."""
        wanted = [event for event in events if self._may_want(event)]
        if not wanted:
            return False
        if len(self._fresh) < PAGE:
            self._fresh += wanted
        else:
            self._fresh.clear()
            self._since = wanted[-1].position
        return True

    def has_more(self, position: int) -> bool:
        """Tell whether there may be anything wanted after a position."""
        return position < self._since or any(x.position > position for x in self._fresh[-1:])

    async def after(self, position: int) -> tuple[Sequence[Recorded], int]:
        """Return what is wanted of what follows on a position, and up to where that was looked."""
        if position >= self._since:
            fresh, self._fresh = self._fresh, []
            self._since = reached = self._journal.head
            found = [event for event in fresh if event.position > position]
        else:
            page = await self._journal.read_all(position, PAGE)
            reached = page[-1].position
            found = [event for event in page if self._may_want(event)]
        if self._wanted.workflow:
            found = [x for x in found if await self._workflow(x) == self._wanted.workflow]
        return found, reached

    async def between(
        self, stream: str, version: int, first: int, last: int, limit: int
    ) -> tuple[list[Recorded], int, bool]:
        """Return what is wanted of a stream, of which some is, between two positions.

        Only events after `version` are looked at. Returns at most `limit` events, the version of
        the last one looked at, and whether that was all.
        """
        found: list[Recorded] = []
        while page := await self._journal.read_stream(stream, version, PAGE):
            for event in page:
                if event.position > last:
                    return found, version, True
                version = event.version
                if event.position >= first and self._may_want(event):
                    found.append(event)
                    if len(found) == limit:
                        return found, version, False
        return found, version, True

    def _may_want(self, event: Recorded) -> bool:
        """Tell whether an event is wanted, its workflow apart."""
        types = self._wanted.types
        return (
            event.tenant == self._tenant
            and (not types or event.facts.type in types)
            and not event.stream.startswith(PREFIX)
        )

    async def _workflow(self, event: Recorded) -> str:
        """Return the workflow that an event belongs to, "" for none."""
        if is_workflow(event.stream):
            return event.stream
        if not is_run(event.stream):
            return ""
        if event.stream not in self._workflow_of:
            is_first = event.version == 1
            first = event if is_first else (await self._journal.read_stream(event.stream, 0, 1))[0]
            assert isinstance(first.facts, e.RunRequested), "a run's stream begins with it"
            if len(self._workflow_of) >= _KNOWN_MAX:
                self._workflow_of.clear()
            self._workflow_of[event.stream] = first.facts.workflow
        return self._workflow_of[event.stream]
