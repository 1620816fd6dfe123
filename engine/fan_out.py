"""Fan-out: one event starts a run of every workflow that waits for it, in one commit.

All runs stand in the same commit under the key of the event, so an event that is sent again finds
either all of them or none; which workflows there are comes from a view, and what they say, from
their own streams, whose versions the commit guards.
"""

from __future__ import annotations

from hashlib import sha256
from itertools import groupby
from typing import Final, Protocol

from ..journal.journal import Appended, Commit, Journal, RequestKey, StreamWrite
from ..projections.workflow_state import WorkflowState
from .caller import Caller
from .cloud_events import CloudEvent
from .errors import InvalidError, NotFoundError
from .nodes.triggers import EventTrigger
from .run_requests import RunRequests, Started, accepted, request_facts
from .workflows import Workflows, until_no_conflict

WORKFLOWS_MAX: Final = 100
"""How many workflows one event may start: they all stand in one commit."""


class Listeners(Protocol):
    """What knows which workflows wait for which types of events; the views do."""

    async def wait_for(self, position: int) -> None:
        """Wait until everything up to a position is known."""
        ...

    async def event_workflows(self, tenant: str, event_type: str, limit: int) -> list[str]:
        """List the active workflows that wait for events of a type, the oldest first."""
        ...


class FanOut:
    """Starts runs by events."""

    def __init__(
        self, journal: Journal, views: Listeners, requests: RunRequests, workflows: Workflows
    ) -> None:
        self._journal = journal
        self._views = views
        self._requests = requests
        self._workflows = workflows

    async def publish(self, caller: Caller, event: CloudEvent) -> list[Started]:
        """Start a run of each active workflow of the caller's tenant that waits for the event.

        The same event (its source and id) within 24 hours returns the runs that it made. An event
        that starts nothing leaves nothing behind, and may start something when it comes again.

        Raises:
            InvalidError: more workflows wait for it than one event may start.
            StaleViewsError: it can't be known in time who waits for it.
        """
        request = event_key(caller.tenant, event)

        async def attempt() -> list[Started]:
            if earlier := await self._journal.requested(request):
                return _repeated(earlier)
            return await self._begin(caller, event, request)

        return await until_no_conflict(attempt)

    async def _begin(self, caller: Caller, event: CloudEvent, request: RequestKey) -> list[Started]:
        waiting = await self._waiting(caller.tenant, event)
        if not waiting:
            return []
        writes: list[StreamWrite] = []
        for state in waiting:
            facts = request_facts(state, state.current.number, "event", "event", request)
            writes.append(self._requests.write(caller, facts, event.payload))
        guards = [(state.workflow_id, state.version) for state in waiting]
        appended = await self._journal.append(Commit(writes, guards=guards, request=request))
        if appended.repeated:
            return _repeated(appended)
        return [
            accepted([made], write, event.payload)
            for made, write in zip(appended.events, writes, strict=True)
        ]

    async def _waiting(self, tenant: str, event: CloudEvent) -> list[WorkflowState]:
        """Find the workflows that the event starts, in the order in which they were made."""
        await self._views.wait_for(self._journal.head)
        found = await self._views.event_workflows(tenant, event.type, WORKFLOWS_MAX + 1)
        if len(found) > WORKFLOWS_MAX:
            fault = f"more than {WORKFLOWS_MAX} workflows wait for events of this type"
            raise InvalidError("The event would start too many workflows.", {"type": [fault]})
        waiting: list[WorkflowState] = []
        for workflow_id in found:
            try:
                state = await self._workflows.find(tenant, workflow_id)
            except NotFoundError:
                continue
            if state.is_active and await self._accepts(state, event):
                waiting.append(state)
        return waiting

    async def _accepts(self, state: WorkflowState, event: CloudEvent) -> bool:
        definition = await self._workflows.definition(state, state.current.number)
        trigger = definition.trigger
        return (
            isinstance(trigger, EventTrigger)
            and trigger.accepts(event.type, event.source)
            and not trigger.check_payload(event.payload)
        )


def event_key(tenant: str, event: CloudEvent) -> RequestKey:
    """Return the key of an event: producers name each event once by its source and id."""
    # Sources and ids are the sender's, of any length, and facts are kept for ever.
    name = sha256(f"{event.source}\n{event.id}".encode()).hexdigest()
    return RequestKey(f"{tenant}\nevents\n", name, name)


def _repeated(earlier: Appended) -> list[Started]:
    return [
        Started(run_id, list(events), True, b"", {}, {})
        for run_id, events in groupby(earlier.events, key=lambda made: made.stream)
    ]
