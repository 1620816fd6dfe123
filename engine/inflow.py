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
    """Finds what a subscriber wants; of its own tenant alone."""

    def __init__(self, journal: Journal, tenant: str, wanted: Wanted) -> None:
        self._journal = journal
        self._tenant = tenant
        self._wanted = wanted
        self._fresh: list[Recorded] = []
        """What was committed since the last look, as long as there was room for it."""
        self._workflow_of: dict[str, str] = {}

    def offer(self, events: Sequence[Recorded]) -> None:
        """Keep what has just become durable for the next look."""
        if len(self._fresh) < PAGE:
            self._fresh += events

    async def after(self, position: int) -> Sequence[Recorded]:
        """Return what follows on a position, out of memory where it was kept."""
        fresh, self._fresh = self._fresh, []
        if fresh and fresh[0].position <= position + 1:
            return [event for event in fresh if event.position > position]
        return await self._journal.read_all(position, PAGE)

    async def between(self, stream: str, first: int, last: int) -> list[Recorded]:
        """Return what is wanted of a stream from one position to another."""
        found: list[Recorded] = []
        version = 0
        while events := await self._journal.read_stream(stream, version, PAGE):
            version = events[-1].version
            found += [x for x in events if first <= x.position <= last and await self.has(x)]
        return found

    async def has(self, event: Recorded) -> bool:
        """Tell whether the subscriber is to be told of an event."""
        if event.tenant != self._tenant or event.stream.startswith(PREFIX):
            return False
        if self._wanted.types and event.facts.type not in self._wanted.types:
            return False
        if not self._wanted.workflow:
            return True
        return self._wanted.workflow == await self._workflow(event)

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
