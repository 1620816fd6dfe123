"""Authoring: create, change and delete workflows, each in one commit that rests on the journal.

What a definition needs of other objects (the workflows that it names, its schedule) is checked
here, when it is saved, and guarded by the same commit.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

import msgspec

from ..journal import events as e
from ..journal import ids
from ..journal.actors import Pseudonyms
from ..journal.clock import Clock, IdSource
from ..journal.errors import ResourceInUseError
from ..journal.journal import Appended, Commit, Journal, NewEvent, RequestKey, StreamWrite
from ..projections.workflow_state import WorkflowState
from .authorization_rules import check_authorization
from .authorizations import Authorizations
from .caller import Caller
from .component import TriggerNode
from .definition import Definition, DefinitionError, compile_definition
from .dependencies import Guard, check_workflows_used
from .errors import StateError
from .limits import Limits
from .nodes.triggers import EventTrigger, WebhookTrigger
from .schedule_rules import NO_SCHEDULE, Planned, plan, schedule_of
from .sealing import Sealer
from .sync_rules import check_sync
from .workflows import WorkflowBody, Workflows, WorkflowText, until_no_conflict

TOKEN_PREFIX: Final = "whsec_"
_TOKEN_LETTERS: Final = 26
_encode = msgspec.json.Encoder().encode


class Authoring:
    """What changes workflows."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        ids_: IdSource,
        pseudonyms: Pseudonyms,
        sealer: Sealer,
        limits: Limits,
        workflows: Workflows,
        authorizations: Authorizations | None = None,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._ids = ids_
        self._pseudonyms = pseudonyms
        self._sealer = sealer
        self._limits = limits
        self._workflows = workflows
        self._authorizations = authorizations

    def check(self, nodes: Any, edges: Any) -> Definition:
        """Compile a definition that is about to be saved, by all rules that need nothing else.

        Raises:
            DefinitionError: it can't run.
        """
        definition = compile_definition(
            nodes,
            edges,
            nodes_max=self._limits.nodes_max,
            depth_max=self._limits.iterator_depth_max,
        )
        errors = check_sync(definition)
        if errors:
            raise DefinitionError(errors)
        return definition

    def check_text(self, text: WorkflowText) -> None:
        """See that a whole workflow could be saved, its schedule included.

        Raises:
            DefinitionError: it can't run.
        """
        if text.schedule_type not in NO_SCHEDULE:
            schedule_of(text, self.check(text.nodes, text.edges))

    async def check_named(self, caller: Caller, text: WorkflowText) -> None:
        """See that what a new workflow names is there: other workflows, its authorization.

        Raises:
            DefinitionError: it is not.
        """
        await self._check_used(caller, "", text, self.check(text.nodes, text.edges))

    async def create(
        self, caller: Caller, text: WorkflowText, request: RequestKey | None
    ) -> Appended:
        """Define a new workflow.

        Raises:
            DefinitionError: it can't run.
        """
        definition = self.check(text.nodes, text.edges)
        workflow_id = self._ids.new(ids.WORKFLOW)
        token = _new_token() if isinstance(definition.trigger, WebhookTrigger) else ""

        async def attempt() -> Appended:
            guards = await self._check_used(caller, workflow_id, text, definition)
            write = self._defining(caller, _Seen(workflow_id), text, definition, token, request)
            return await self._journal.append(Commit([write], guards=guards, request=request))

        return await until_no_conflict(attempt)

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
            state = await self._workflows.find(caller.tenant, workflow_id)
            seen = _seen(state)
            number = seen.number
            if expected is not None and number != expected:
                raise VersionMismatchError(number)
            body = await self._workflows.body(state, number)
            text = edit(body.workflow)
            definition = self.check(text.nodes, text.edges)
            guards = await self._check_used(caller, workflow_id, text, definition)
            token = self._kept_token(workflow_id, body, definition.trigger)
            write = self._defining(caller, seen, text, definition, token, None)
            await self._journal.append(Commit([write], guards=guards))
            return await self._workflows.find(caller.tenant, workflow_id)

        return await until_no_conflict(attempt)

    async def renew_token(
        self, caller: Caller, workflow_id: str, expected: int | None
    ) -> WorkflowState:
        """Make a version that differs from the current one only in its webhook token.

        The old token is unknown from then on: a token is renewed because it leaked.

        Raises:
            NotFoundError: there is no such workflow.
            VersionMismatchError: the current version is not `expected`.
            StateError: `definition_incompatible`, it has no webhook.
        """

        async def attempt() -> WorkflowState:
            state = await self._workflows.find(caller.tenant, workflow_id)
            seen = _seen(state)
            number = seen.number
            if expected is not None and number != expected:
                raise VersionMismatchError(number)
            definition = await self._workflows.definition(state, number)
            if not isinstance(definition.trigger, WebhookTrigger):
                raise StateError("definition_incompatible", "The workflow has no webhook_trigger.")
            text = (await self._workflows.body(state, number)).workflow
            write = self._defining(caller, seen, text, definition, _new_token(), None)
            await self._journal.append(Commit([write]))
            return await self._workflows.find(caller.tenant, workflow_id)

        return await until_no_conflict(attempt)

    async def delete(self, caller: Caller, workflow_id: str) -> None:
        """Delete a workflow that nothing uses.

        Raises:
            NotFoundError: there is no such workflow.
            StateError: `workflow_in_use`.
        """

        async def attempt() -> None:
            state = await self._workflows.find(caller.tenant, workflow_id)
            body = _encode({"by": caller.subject})
            meta = caller.metadata(self._pseudonyms)
            event = NewEvent(self._ids.new(), e.WorkflowDeleted(), body, meta.actor)
            write = StreamWrite(workflow_id, state.version, [event], meta)
            try:
                await self._journal.append(Commit([write], unused=[workflow_id]))
            except ResourceInUseError as error:
                raise StateError(
                    "workflow_in_use", f"The workflow is in use by {error.holder}."
                ) from error

        await until_no_conflict(attempt)

    async def _check_used(
        self, caller: Caller, workflow_id: str, text: WorkflowText, definition: Definition
    ) -> list[Guard]:
        depth = self._limits.subworkflow_depth_max
        used = await check_workflows_used(
            self._workflows, caller.tenant, workflow_id, definition, depth
        )
        named = text.authorization_id
        return used + await check_authorization(
            self._authorizations, caller.tenant, definition, named
        )

    def _kept_token(self, workflow_id: str, body: WorkflowBody, trigger: TriggerNode[Any]) -> str:
        if not isinstance(trigger, WebhookTrigger):
            return ""
        return self._workflows.token(workflow_id, body) or _new_token()

    def _defining(
        self,
        caller: Caller,
        seen: _Seen,
        text: WorkflowText,
        definition: Definition,
        token: str,
        request: RequestKey | None,
    ) -> StreamWrite:
        trigger = definition.trigger
        schedule = schedule_of(text, definition)
        now = self._clock.now_us()
        planned = plan(schedule, now, seen.planned, is_active=text.is_active)
        facts = e.WorkflowDefined(
            active=int(text.is_active),
            event_type=trigger.event_type if isinstance(trigger, EventTrigger) else "",
            idempotency_digest=request.digest if request else "",
            idempotency_key=request.key if request else "",
            idempotency_scope=request.scope if request else "",
            next_at=planned.next_at,
            schedule=planned.schedule,
            uses=" ".join(_uses(text, definition)),
            webhook_hash=self._pseudonyms.token(token) if token else "",
            workflow_version=seen.number + 1,
        )
        sealed = self._sealer.seal(seen.workflow_id, token) if token else ""
        body = _encode(WorkflowBody(caller.subject, text, sealed))
        meta = caller.metadata(self._pseudonyms)
        event = NewEvent(self._ids.new(), facts, body, meta.actor)
        return StreamWrite(seen.workflow_id, seen.version, [event], meta)


def _uses(text: WorkflowText, definition: Definition) -> list[str]:
    """Return the ids of what a version needs, and keeps from being deleted."""
    grants = [text.authorization_id] if text.authorization_id else []
    return [*definition.workflows_used, *grants]


class _Seen(msgspec.Struct, frozen=True):
    """What a new version follows, noted at one moment: the state itself moves on meanwhile."""

    workflow_id: str
    version: int = 0
    """That of the stream."""
    number: int = 0
    planned: Planned = Planned()


def _seen(state: WorkflowState) -> _Seen:
    planned = Planned(state.schedule, state.next_at)
    return _Seen(state.workflow_id, state.version, state.current.number, planned)


class VersionMismatchError(Exception):
    """An `If-Match` named another version than the current one."""

    def __init__(self, current: int) -> None:
        super().__init__(f"The current version is {current}.")
        self.current = current


def _new_token() -> str:
    letters = os.urandom(_TOKEN_LETTERS).translate(ids.LOW_FIVE_BITS).decode()
    return TOKEN_PREFIX + letters
