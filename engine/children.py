"""Runs of other workflows: started by a node, in one commit with the note of it.

The child's id stands in the parent's stream in the same commit as the child's first event, so a
step never starts a second child, whatever happens in between.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import msgspec

from ..journal import events as e
from ..journal.actors import Pseudonyms
from ..journal.clock import IdSource
from ..journal.errors import ConflictError, StoreClosedError
from ..journal.journal import Journal, NewEvent, StreamWrite
from ..projections.node_state import Place
from ..projections.run_state import RunState
from ..projections.workflow_state import WorkflowState
from .caller import Caller
from .calls import Result, encode_result
from .component import ChildRequest, Json, NodeError, Outcome
from .errors import BusyError, EngineError, NotFoundError
from .family import ChildEnd, unwaited
from .limits import Limits
from .requests import StopRequest
from .results import final_nodes, result_of
from .run_requests import RunRequests, Started, accepted, request_facts
from .runs import Runs
from .transcript import Transcript
from .workflows import Workflows, check_payload

TRIGGER_TYPE = "workflow"


class Host(Protocol):
    """What carries the children on: the engine."""

    async def begin(self, started: Started) -> None:
        """Take up a run that was just accepted."""
        ...

    async def ask(self, caller: Caller, request: StopRequest, run_id: str) -> None:
        """Ask something of a run; returns once that is durable."""
        ...


class Children:
    """See `Family`."""

    def __init__(
        self,
        journal: Journal,
        workflows: Workflows,
        runs: Runs,
        requests: RunRequests,
        pseudonyms: Pseudonyms,
        limits: Limits,
        host: Host,
    ) -> None:
        self._journal = journal
        self._workflows = workflows
        self._runs = runs
        self._requests = requests
        self._pseudonyms = pseudonyms
        self._limits = limits
        self._host = host

    async def request(
        self, transcript: Transcript, place: Place, wanted: ChildRequest, ids: IdSource
    ) -> Result | None:
        """Start a run of another workflow; see `Family.request`."""
        parent = transcript.state
        while True:
            try:
                state = await self._startable(parent, wanted)
            except NodeError as error:
                return error
            write = self._write(parent, place, wanted, state)
            facts = e.ChildRequested(
                child=write.stream,
                iteration=place[0],
                node=place[1],
                waits=int(wanted.waits),
                workflow=state.workflow_id,
                workflow_version=state.current.number,
            )
            guard = state.workflow_id, state.version
            try:
                events = await transcript.commit_with(NewEvent(ids.new(), facts), write, guard)
            except ConflictError as error:
                if error.stream == parent.run_id:
                    raise
                # The other workflow was changed at this moment: look at it again.
                continue
            await self._host.begin(accepted(events, write, wanted.payload))
            return None if wanted.waits else unwaited(write.stream)

    async def result(self, run_id: str) -> ChildEnd | None:
        """Return what a child came to; see `Family.result`."""
        loaded = await self._runs.load(run_id)
        state = loaded.state
        if not state.is_ended:
            return None
        if state.status == "completed":
            output = {"output": await self.output_of(state)}
            shown, result = encode_result(Outcome(output), 1, self._limits.output_bytes_max)
            if isinstance(result, Outcome):
                result = Outcome({"run_id": run_id, "status": "completed", **output})
            return ChildEnd("completed", state.ended_at, shown, result)
        bodies = await self._journal.read_bodies([state.message_at])
        body = bodies.get(state.message_at)
        message = msgspec.json.decode(body.data).get("message", "") if body else "(erased)"
        shown = msgspec.json.encode({"message": message})
        failure = NodeError(
            "child_failed",
            f"Sub-workflow run {run_id} failed: {message}",
            {"run_id": run_id, "status": "failed", "failed_node_id": state.failed_node or None},
        )
        return ChildEnd("failed", state.ended_at, shown, failure)

    async def output_of(self, state: RunState) -> Json:
        """Return the result of a run that completed: what its last nodes passed on."""
        workflow = await self._workflows.find(state.tenant, state.origin.workflow, deleted_too=True)
        definition = await self._workflows.definition(workflow, state.origin.workflow_version)
        final = final_nodes(definition.graph, state.nodes)
        positions = {node: state.nodes[node].body_at for node in final}
        bodies = await self._journal.read_bodies(list(positions.values()))
        return result_of(
            final,
            {
                node: msgspec.json.decode(bodies[at].data) if at in bodies else {"erased": True}
                for node, at in positions.items()
            },
        )

    async def cancel(self, parent: RunState, run_id: str) -> bool:
        """Cancel a child; see `Family.cancel`."""
        caller = _parent_as_caller(parent)
        accepted_: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        request = StopRequest(caller.subject, caller.metadata(self._pseudonyms), accepted_)
        try:
            await self._host.ask(caller, request, run_id)
        except (BusyError, StoreClosedError):
            return False
        except EngineError:
            # It has ended already.
            return True
        return True

    async def _startable(self, parent: RunState, wanted: ChildRequest) -> WorkflowState:
        """Return the workflow to start.

        Raises:
            NodeError: it can't be started.
        """
        if parent.origin.depth >= self._limits.subworkflow_depth_max:
            limit = self._limits.subworkflow_depth_max
            raise NodeError("depth_exceeded", f"Sub-workflows can be nested {limit} deep.")
        try:
            state = await self._workflows.find(parent.tenant, wanted.workflow_id)
        except NotFoundError:
            message = f"There is no workflow '{wanted.workflow_id[:64]}'."
            raise NodeError("child_not_found", message) from None
        if not state.is_active:
            message = f"Workflow '{wanted.workflow_id}' is not active."
            raise NodeError("workflow_inactive", message)
        definition = await self._workflows.definition(state, state.current.number)
        try:
            check_payload(definition, wanted.payload)
        except EngineError as error:
            raise NodeError("payload_invalid", str(error)) from None
        return state

    def _write(
        self, parent: RunState, place: Place, wanted: ChildRequest, state: WorkflowState
    ) -> StreamWrite:
        facts = msgspec.structs.replace(
            request_facts(state, state.current.number, "subworkflow", TRIGGER_TYPE, None),
            depth=parent.origin.depth + 1,
            parent_iteration=place[0],
            parent_node=place[1],
            parent_run=parent.run_id,
        )
        return self._requests.write(_parent_as_caller(parent), facts, wanted.payload)


def _parent_as_caller(parent: RunState) -> Caller:
    """Return the parent as who asks: the request that all goes back to is its own."""
    return Caller(parent.tenant, parent.run_id, parent.corr)
