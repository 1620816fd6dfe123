"""Workflows: find them and their compiled definitions.

The state of each workflow in use is kept in memory and follows the journal's own feed, so it is
never older than what has been disclosed; every commit that relies on it guards its version.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from ..journal import ids
from ..journal.envelope import Recorded
from ..journal.errors import ConflictError
from ..journal.events import OBJECT_EVENTS, PayloadErased
from ..journal.journal import LATEST, Journal
from ..projections.workflow_state import WorkflowState, evolve, evolved, fold
from .copying import read_whole
from .definition import Definition, compile_definition
from .errors import InvalidError, NotFoundError, StateError
from .sealing import Sealer

CACHED_MAX: Final = 2000
ATTEMPTS_MAX: Final = 8

T = TypeVar("T")


class WorkflowText(msgspec.Struct, frozen=True, kw_only=True):
    """What a version of a workflow says, as its author sent it."""

    name: str
    nodes: list[dict[str, Any]]
    edges: list[dict[str, Any]]
    description: str | None = None
    is_active: bool = True
    schedule_type: str | None = None
    schedule_value: str | None = None
    authorization_id: str | None = None


class WorkflowBody(msgspec.Struct, frozen=True):
    """The body of `workflow.defined`."""

    by: str
    workflow: WorkflowText
    webhook_token: str
    """Sealed under the workflow's id; "" without a webhook trigger."""


_decode_body = msgspec.json.Decoder(WorkflowBody).decode


async def until_no_conflict(attempt: Callable[[], Awaitable[T]]) -> T:
    """Decide again when somebody else's commit came first, a bounded number of times."""
    for _ in range(ATTEMPTS_MAX - 1):
        try:
            return await attempt()
        except ConflictError:
            continue
    return await attempt()


class Workflows:
    """All workflows of the service."""

    def __init__(
        self,
        journal: Journal,
        sealer: Sealer,
    ) -> None:
        self._journal = journal
        self._sealer = sealer
        self._states: OrderedDict[str, WorkflowState] = OrderedDict()
        self._definitions: OrderedDict[tuple[str, int], Definition] = OrderedDict()
        journal.subscribe(self._follow, OBJECT_EVENTS)

    async def find(
        self, tenant: str, workflow_id: str, *, deleted_too: bool = False, at: int = LATEST
    ) -> WorkflowState:
        """Return a workflow of this tenant as of a position, by default as it is.

        Raises:
            NotFoundError: there is none; another tenant's looks the same and costs the same.
        """
        state = self._states.get(workflow_id)
        if state is None or state.tenant != tenant:
            state = await self._load_of(tenant, workflow_id)
        if state.position > at:
            state = await self._load_earlier(workflow_id, at)
        if not (state.exists or (deleted_too and state.versions)):
            raise NotFoundError("workflow")
        return state

    async def find_any(self, workflow_id: str) -> WorkflowState:
        """Return a workflow, whoever's it is and whether or not it exists."""
        return self._states.get(workflow_id) or await self._load(workflow_id)

    async def body(self, state: WorkflowState, number: int) -> WorkflowBody:
        """Read one version.

        Raises:
            NotFoundError: there is no version of this number.
            StateError: `payload_erased`.
        """
        body = await self.find_body(state, number)
        if body is None:
            raise StateError("payload_erased", "This version of the workflow was erased.")
        return body

    async def find_body(self, state: WorkflowState, number: int) -> WorkflowBody | None:
        """Read one version, None if it was erased.

        Raises:
            NotFoundError: there is no version of this number.
        """
        if not 1 <= number <= len(state.versions):
            raise NotFoundError("version of the workflow")
        body_at = state.versions[number - 1].body_at
        bodies = await self._journal.read_bodies([body_at])
        return _decode_body(bodies[body_at].data) if body_at in bodies else None

    async def definition(self, state: WorkflowState, number: int) -> Definition:
        """Return one version, compiled."""
        key = (state.workflow_id, number)
        known = self._definitions.get(key)
        if known is None:
            text = (await self.body(state, number)).workflow
            # The limit may have been lowered since it was saved; what was accepted still runs.
            known = compile_definition(
                text.nodes,
                text.edges,
                nodes_max=sys.maxsize,
                depth_max=sys.maxsize,
                authorization_id=text.authorization_id or "",
            )
            self._definitions[key] = known
            if len(self._definitions) > CACHED_MAX:
                self._definitions.popitem(last=False)
        return known

    def token(self, workflow_id: str, body: WorkflowBody) -> str | None:
        """Return a version's webhook token in clear, None if it has none."""
        return self._sealer.open(workflow_id, body.webhook_token) if body.webhook_token else None

    async def _load_of(self, tenant: str, workflow_id: str) -> WorkflowState:
        """Load a workflow of this tenant; of another's no more is read than of one that is none."""
        first = await self._journal.read_stream(workflow_id, limit=1)
        if not first or first[0].tenant != tenant:
            raise NotFoundError("workflow")
        return await self._load(workflow_id)

    async def _load(self, workflow_id: str) -> WorkflowState:
        if not ids.is_workflow(workflow_id):
            return fold(workflow_id, await self._journal.read_stream(workflow_id, limit=1))
        # What is committed while this reads may be missing from what it read.
        heard: list[Recorded] = []
        unsubscribe = self._journal.subscribe(
            lambda events: heard.extend(new for new in events if new.stream == workflow_id)
        )
        try:
            events: list[Recorded] = []
            async for page in read_whole(self._journal, workflow_id):
                events.extend(page)
        finally:
            unsubscribe()
        state = fold(workflow_id, events)
        for event in heard:
            if event.version == state.version + 1:
                evolve(state, event)
        known = self._states.get(workflow_id)
        if known is not None and known.version >= state.version:
            return known
        if state.versions:
            self._states[workflow_id] = state
            if len(self._states) > CACHED_MAX:
                self._states.popitem(last=False)
        return state

    async def _load_earlier(self, workflow_id: str, at: int) -> WorkflowState:
        state = WorkflowState(workflow_id)
        async for page in read_whole(self._journal, workflow_id, at=at):
            for event in page:
                evolve(state, event)
        return state

    def _follow(self, events: Sequence[Recorded]) -> None:
        for event in events:
            if isinstance(event.facts, PayloadErased) and ids.is_workflow(event.facts.target):
                self._forget(event.facts.target)
            state = self._states.get(event.stream)
            if state is not None and event.version == state.version + 1:
                # Who was given the state decides by what it said then, and guards its version.
                self._states[event.stream] = evolved(state, event)

    def _forget(self, workflow_id: str) -> None:
        """Keep no definition in memory that stands nowhere else any more."""
        for key in [key for key in self._definitions if key[0] == workflow_id]:
            del self._definitions[key]


def check_payload(definition: Definition, payload: dict[str, Any]) -> None:
    """Check a trigger payload against the trigger's own schema.

    Raises:
        InvalidError: it breaks the schema.
    """
    faults = definition.trigger.check_payload(payload)
    if faults:
        raise InvalidError("The payload breaks the trigger's schema.", {"context": faults})
