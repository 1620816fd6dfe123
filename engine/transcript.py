"""The transcript of one active run: its state, and the events that are not durable yet.

An event counts for decisions as soon as it is noted, and for the world only once `flush` has
made it durable. Pure nodes therefore need not wait for the disk, and effects always do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ..journal.clock import Clock, IdSource
from ..journal.envelope import Recorded
from ..journal.errors import StoreFailedError
from ..journal.events import Facts
from ..journal.journal import Appended, Commit, Journal, Metadata, NewEvent, StreamWrite
from ..projections.run_state import RunState, evolve

EVENTS_PER_COMMIT_MAX: Final = 256
KEPT_BYTES_MAX: Final = 1024 * 1024
_RETRY_SECONDS: Final = 1.0
_log = logging.getLogger("refold.engine")
_encode = msgspec.json.Encoder().encode


class Snapshot(msgspec.Struct, frozen=True):
    """A run's events and bodies as they were committed, kept to answer without reading back."""

    events: list[Recorded]
    bodies: dict[int, bytes]


class Transcript:
    """Notes events, folds them at once, and appends them in order."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        ids: IdSource,
        state: RunState,
        snapshot: Snapshot | None,
    ) -> None:
        """`snapshot` holds everything up to the state's version, or is None to keep nothing."""
        self._journal = journal
        self._clock = clock
        self._ids = ids
        self.state: Final = state
        self.snapshot = snapshot
        self._kept_bytes = 0
        self._durable = state.version
        self._newest_durable = state.last_event_id
        self._pending: list[NewEvent] = []

    @property
    def pending(self) -> int:
        """How many noted events are not durable yet."""
        return len(self._pending)

    def note(self, facts: Facts, body: Any = None) -> None:
        """Note an event; `body` is JSON, None for an event without one."""
        self.add(NewEvent(self._ids.new(), facts, None if body is None else _encode(body)))

    def note_bytes(self, facts: Facts, body: bytes) -> None:
        """Note an event whose body is encoded already."""
        self.add(NewEvent(self._ids.new(), facts, body))

    def add(self, event: NewEvent) -> None:
        """Note an event that is made already, such as a replayed one."""
        self._pending.append(event)
        state = self.state
        provisional = Recorded(
            0,
            event.body_at,
            b"",
            state.run_id,
            state.version + 1,
            event.id,
            self._clock.now_us(),
            state.tenant,
            state.actor,
            state.corr,
            "",
            event.src,
            event.payload,
            event.facts,
        )
        evolve(state, provisional)

    async def flush(self, meta: Metadata | None = None) -> None:
        """Make everything noted durable, in commits of bounded size.

        `meta` says who caused it, who is the subject of its bodies too; by default the run itself.
        A disk that refuses is asked again until it gives in: the events are the same, so a repeat
        can't double them.

        Raises:
            ConflictError: somebody else continues this run; let go of it.
        """
        while self._pending:
            events = self._pending[:EVENTS_PER_COMMIT_MAX]
            if meta is not None:
                events = [_of_subject(event, meta.actor) for event in events]
            write = StreamWrite(
                self.state.run_id, self._durable, events, meta or self._own_metadata()
            )
            appended = await self._append(Commit([write]))
            del self._pending[: len(events)]
            self._durable += len(events)
            self._newest_durable = events[-1].id
            self._keep(appended.events, events)

    async def commit_with(
        self, event: NewEvent, other: StreamWrite, guard: tuple[str, int]
    ) -> Sequence[Recorded]:
        """Make one event durable in one commit with what another stream gets.

        Returns the other stream's events. Nothing may be pending.

        Raises:
            ConflictError: the guard's stream moved on, or somebody else continues this run.
        """
        assert not self._pending, "what was noted before stands before it in the stream"
        write = StreamWrite(self.state.run_id, self._durable, [event], self._own_metadata())
        appended = await self._append(Commit([write, other], guards=[guard]))
        own, others = appended.events[:1], appended.events[1:]
        self._durable += 1
        self._newest_durable = event.id
        self._keep(own, [event])
        evolve(self.state, own[0])
        return others

    async def _append(self, commit: Commit) -> Appended:
        while True:
            try:
                return await self._journal.append(commit, patient=True)
            except StoreFailedError as error:
                _log.error("run %s waits for the disk: %s", self.state.run_id, error)
                await asyncio.sleep(_RETRY_SECONDS)

    def _own_metadata(self) -> Metadata:
        state = self.state
        return Metadata(state.tenant, state.actor, state.corr, self._newest_durable)

    def _keep(self, recorded: Sequence[Recorded], events: Sequence[NewEvent]) -> None:
        if self.snapshot is None:
            return
        self.snapshot.events.extend(recorded)
        for event, new in zip(recorded, events, strict=True):
            if new.body is not None:
                self.snapshot.bodies[event.position] = new.body
                self._kept_bytes += len(new.body)
        if self._kept_bytes > KEPT_BYTES_MAX:
            self.snapshot = None


def _of_subject(event: NewEvent, subject: str) -> NewEvent:
    return event if event.body is None else msgspec.structs.replace(event, subject=subject)
