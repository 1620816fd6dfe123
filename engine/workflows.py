"""Workflows: define, change, delete, and find them and their compiled definitions.

The state of each workflow in use is kept in memory and follows the journal's own feed, so it is
never older than what has been disclosed; every commit that relies on it guards its version.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from ..journal import events as e
from ..journal import ids
from ..journal.actors import Pseudonyms
from ..journal.clock import IdSource
from ..journal.envelope import Recorded
from ..journal.errors import ConflictError, ResourceInUseError
from ..journal.journal import Appended, Commit, Journal, NewEvent, RequestKey, StreamWrite
from ..projections.workflow_state import WorkflowState, evolve, fold
from .caller import Caller
from .component import TriggerNode
from .copying import read_whole
from .definition import Definition, compile_definition
from .errors import InvalidError, NotFoundError, StateError
from .limits import Limits
from .nodes.triggers import WebhookTrigger
from .sealing import Sealer

CACHED_MAX: Final = 2000
ATTEMPTS_MAX: Final = 8
TOKEN_PREFIX: Final = "whsec_"
_TOKEN_LETTERS: Final = 26
_encode = msgspec.json.Encoder().encode

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
        ids_: IdSource,
        pseudonyms: Pseudonyms,
        sealer: Sealer,
        limits: Limits,
    ) -> None:
        self._journal = journal
        self._ids = ids_
        self._pseudonyms = pseudonyms
        self._sealer = sealer
        self._limits = limits
        self._states: OrderedDict[str, WorkflowState] = OrderedDict()
        self._definitions: OrderedDict[tuple[str, int], Definition] = OrderedDict()
        journal.subscribe(self._follow)

    async def find(
        self, tenant: str, workflow_id: str, *, deleted_too: bool = False
    ) -> WorkflowState:
        """Return a workflow of this tenant.

        Raises:
            NotFoundError: there is none; another tenant's looks the same and costs the same.
        """
        state = self._states.get(workflow_id)
        if state is None or state.tenant != tenant:
            state = await self._load(workflow_id)
        visible = state.exists or (deleted_too and state.versions)
        if state.tenant != tenant or not visible:
            raise NotFoundError("workflow")
        return state

    async def find_any(self, workflow_id: str) -> WorkflowState:
        """Return a workflow, whoever's it is and whether or not it exists."""
        return self._states.get(workflow_id) or await self._load(workflow_id)

    @property
    def nodes_max(self) -> int:
        """How many nodes a definition may have."""
        return self._limits.nodes_max

    async def body(self, state: WorkflowState, number: int) -> WorkflowBody:
        """Read one version.

        Raises:
            NotFoundError: there is no version of this number.
        """
        if not 1 <= number <= len(state.versions):
            raise NotFoundError("version of the workflow")
        body_at = state.versions[number - 1].body_at
        bodies = await self._journal.read_bodies([body_at])
        if body_at not in bodies:
            raise StateError("payload_erased", "This version of the workflow was erased.")
        return _decode_body(bodies[body_at].data)

    async def definition(self, state: WorkflowState, number: int) -> Definition:
        """Return one version, compiled."""
        key = (state.workflow_id, number)
        known = self._definitions.get(key)
        if known is None:
            text = (await self.body(state, number)).workflow
            # The limit may have been lowered since it was saved; what was accepted still runs.
            known = compile_definition(text.nodes, text.edges, nodes_max=len(text.nodes))
            self._definitions[key] = known
            if len(self._definitions) > CACHED_MAX:
                self._definitions.popitem(last=False)
        return known

    def token(self, workflow_id: str, body: WorkflowBody) -> str | None:
        """Return a version's webhook token in clear, None if it has none."""
        return self._sealer.open(workflow_id, body.webhook_token) if body.webhook_token else None

    async def create(
        self, caller: Caller, text: WorkflowText, request: RequestKey | None
    ) -> Appended:
        """Define a new workflow.

        Raises:
            DefinitionError: it can't run.
        """
        definition = compile_definition(text.nodes, text.edges, nodes_max=self._limits.nodes_max)
        workflow_id = self._ids.new(ids.WORKFLOW)
        token = _new_token() if isinstance(definition.trigger, WebhookTrigger) else ""
        write = self._defining(caller, workflow_id, 0, 1, text, token, request)
        return await self._journal.append(Commit([write], request=request))

    async def change(
        self,
        caller: Caller,
        workflow_id: str,
        edit: Callable[[WorkflowText], WorkflowText],
        expected: int | None,
    ) -> WorkflowState:
        """Make a new version of what `edit` makes of the current one.

        Raises:
            NotFoundError: there is no such workflow.
            VersionMismatchError: the current version is not `expected`.
            DefinitionError: the new version can't run.
        """

        async def attempt() -> WorkflowState:
            state = await self.find(caller.tenant, workflow_id)
            number = state.current.number
            if expected is not None and number != expected:
                raise VersionMismatchError(number)
            body = await self.body(state, number)
            text = edit(body.workflow)
            definition = compile_definition(
                text.nodes, text.edges, nodes_max=self._limits.nodes_max
            )
            token = self._kept_token(workflow_id, body, definition.trigger)
            write = self._defining(
                caller, workflow_id, state.version, number + 1, text, token, None
            )
            await self._journal.append(Commit([write]))
            return await self.find(caller.tenant, workflow_id)

        return await until_no_conflict(attempt)

    async def delete(self, caller: Caller, workflow_id: str) -> None:
        """Delete a workflow that nothing uses.

        Raises:
            NotFoundError: there is no such workflow.
            StateError: `workflow_in_use`.
        """

        async def attempt() -> None:
            state = await self.find(caller.tenant, workflow_id)
            body = _encode({"by": caller.subject})
            event = NewEvent(self._ids.new(), e.WorkflowDeleted(), body)
            meta = caller.metadata(self._pseudonyms)
            write = StreamWrite(workflow_id, state.version, [event], meta)
            try:
                await self._journal.append(Commit([write], unused=[workflow_id]))
            except ResourceInUseError as error:
                raise StateError(
                    "workflow_in_use", f"The workflow is in use by {error.holder}."
                ) from error

        await until_no_conflict(attempt)

    def _kept_token(self, workflow_id: str, body: WorkflowBody, trigger: TriggerNode[Any]) -> str:
        if not isinstance(trigger, WebhookTrigger):
            return ""
        return self.token(workflow_id, body) or _new_token()

    def _defining(
        self,
        caller: Caller,
        workflow_id: str,
        stream_version: int,
        number: int,
        text: WorkflowText,
        token: str,
        request: RequestKey | None,
    ) -> StreamWrite:
        facts = e.WorkflowDefined(
            active=int(text.is_active),
            event_type="",
            idempotency_digest=request.digest if request else "",
            idempotency_key=request.key if request else "",
            idempotency_scope=request.scope if request else "",
            next_at=0,
            schedule="",
            uses="",
            webhook_hash=self._pseudonyms.token(token) if token else "",
            workflow_version=number,
        )
        sealed = self._sealer.seal(workflow_id, token) if token else ""
        body = _encode(WorkflowBody(caller.subject, text, sealed))
        event = NewEvent(self._ids.new(), facts, body)
        return StreamWrite(workflow_id, stream_version, [event], caller.metadata(self._pseudonyms))

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

    def _follow(self, events: Sequence[Recorded]) -> None:
        for event in events:
            state = self._states.get(event.stream)
            if state is not None and event.version == state.version + 1:
                evolve(state, event)


class VersionMismatchError(Exception):
    """An `If-Match` named another version than the current one."""

    def __init__(self, current: int) -> None:
        super().__init__(f"The current version is {current}.")
        self.current = current


def _new_token() -> str:
    letters = os.urandom(_TOKEN_LETTERS).translate(ids.LOW_FIVE_BITS).decode()
    return TOKEN_PREFIX + letters


def check_payload(definition: Definition, payload: dict[str, Any]) -> None:
    """Check a trigger payload against the trigger's own schema.

    Raises:
        InvalidError: it breaks the schema.
    """
    faults = definition.trigger.check_payload(payload)
    if faults:
        raise InvalidError("The payload breaks the trigger's schema.", {"context": faults})
