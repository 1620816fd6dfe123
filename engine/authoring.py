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
from ..journal.clock import IdSource
from ..journal.errors import ResourceInUseError
from ..journal.journal import Appended, Commit, Journal, NewEvent, RequestKey, StreamWrite
from ..projections.workflow_state import WorkflowState
from .caller import Caller
from .component import TriggerNode
from .definition import compile_definition
from .errors import StateError
from .limits import Limits
from .nodes.triggers import WebhookTrigger
from .sealing import Sealer
from .workflows import WorkflowBody, Workflows, WorkflowText, until_no_conflict

TOKEN_PREFIX: Final = "whsec_"
_TOKEN_LETTERS: Final = 26
_encode = msgspec.json.Encoder().encode


class Authoring:
    """What changes workflows."""

    def __init__(
        self,
        journal: Journal,
        ids_: IdSource,
        pseudonyms: Pseudonyms,
        sealer: Sealer,
        limits: Limits,
        workflows: Workflows,
    ) -> None:
        self._journal = journal
        self._ids = ids_
        self._pseudonyms = pseudonyms
        self._sealer = sealer
        self._limits = limits
        self._workflows = workflows

    @property
    def nodes_max(self) -> int:
        """How many nodes a definition may have."""
        return self._limits.nodes_max

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
            state = await self._workflows.find(caller.tenant, workflow_id)
            number = state.current.number
            if expected is not None and number != expected:
                raise VersionMismatchError(number)
            body = await self._workflows.body(state, number)
            text = edit(body.workflow)
            definition = compile_definition(
                text.nodes, text.edges, nodes_max=self._limits.nodes_max
            )
            token = self._kept_token(workflow_id, body, definition.trigger)
            write = self._defining(
                caller, workflow_id, state.version, number + 1, text, token, None
            )
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
        return self._workflows.token(workflow_id, body) or _new_token()

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


class VersionMismatchError(Exception):
    """An `If-Match` named another version than the current one."""

    def __init__(self, current: int) -> None:
        super().__init__(f"The current version is {current}.")
        self.current = current


def _new_token() -> str:
    letters = os.urandom(_TOKEN_LETTERS).translate(ids.LOW_FIVE_BITS).decode()
    return TOKEN_PREFIX + letters
