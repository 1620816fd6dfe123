"""The three ways in: execute, rerun and resume, each one commit that makes a run.

They are one operation, a run that continues from a consistent cut: the empty one for execute
and rerun, the chosen node's for resume.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final, Literal

import msgspec

from ..journal import events as e
from ..journal.clock import IdSource
from ..journal.envelope import Recorded
from ..journal.journal import Appended, Commit, Journal, RequestKey
from ..projections.run_state import RunState
from ..projections.workflow_state import WorkflowState
from .caller import Caller
from .component import is_object
from .cut import Cut, check_compatible, cut, last_good, reachable, replayable, replayed
from .decider import place_of
from .definition import Definition
from .errors import NodeNotFoundError, StateError
from .run_requests import RunRequests, Started, accepted, request_facts
from .runs import LoadedRun, Runs, absent
from .transcript import EVENTS_PER_COMMIT_MAX
from .workflows import Workflows, check_payload, until_no_conflict

Which = Literal["original", "current"]
_encode = msgspec.json.Encoder().encode
# The request itself takes one place in the first commit.
_FIRST_REPLAYED_MAX: Final = EVENTS_PER_COMMIT_MAX - 1


class Plan(msgspec.Struct, frozen=True):
    """What a resume would keep and execute."""

    replayed: tuple[str, ...]
    executed: tuple[str, ...]
    definition: Which


class _Resume(msgspec.Struct, frozen=True):
    chosen: str
    original: LoadedRun
    state: WorkflowState
    number: int
    cut: Cut


class Starts:
    """Makes runs."""

    def __init__(
        self,
        journal: Journal,
        ids_: IdSource,
        requests: RunRequests,
        workflows: Workflows,
        runs: Runs,
    ) -> None:
        self._journal = journal
        self._ids = ids_
        self._requests = requests
        self._workflows = workflows
        self._runs = runs

    async def execute(
        self,
        caller: Caller,
        workflow_id: str,
        payload: dict[str, Any],
        *,
        origin: str,
        trigger_type: str,
        request: RequestKey | None,
    ) -> Started:
        """Start a run of the current version.

        Raises:
            NotFoundError: there is no such workflow.
            StateError: `workflow_inactive`.
            InvalidError: the payload breaks the trigger's schema.
        """

        async def attempt() -> Started:
            state = await self._workflows.find(caller.tenant, workflow_id)
            if request is not None and (earlier := await self._journal.requested(request)):
                return _repeated(earlier)
            if not state.is_active:
                raise StateError("workflow_inactive", "The workflow is not active.")
            number = state.current.number
            definition = await self._workflows.definition(state, number)
            check_payload(definition, _checked_part(payload, trigger_type))
            facts = request_facts(state, number, origin, trigger_type, request)
            return await self._begin(caller, state, facts, payload, request)

        return await until_no_conflict(attempt)

    async def rerun(
        self, caller: Caller, run_id: str, which: Which, request: RequestKey | None
    ) -> Started:
        """Start a run with an ended run's trigger payload.

        Raises:
            NotFoundError: there is no such run.
            StateError: `run_not_finished`, `payload_erased`, `payload_archived`.
            InvalidError: the payload breaks the current schema.
        """

        async def attempt() -> Started:
            original = (await self._runs.find(caller.tenant, run_id)).state
            if request is not None and (earlier := await self._journal.requested(request)):
                return _repeated(earlier)
            if not original.is_ended:
                raise StateError("run_not_finished", "The run has not ended yet.")
            state = await self._workflows.find(caller.tenant, original.origin.workflow)
            number = _number(original, state, which)
            payload = await self._runs.payload(original)
            trigger_type = original.origin.trigger_type
            if which == "current":
                definition = await self._workflows.definition(state, number)
                check_payload(definition, _checked_part(payload, trigger_type))
            facts = msgspec.structs.replace(
                request_facts(state, number, "rerun", trigger_type, request),
                original_run=original.run_id,
                original_version=original.version,
                payload_run=original.origin.payload_run or original.run_id,
            )
            needs = [await self._runs.payload_at(original)]
            return await self._begin(caller, state, facts, payload, request, needs=needs)

        return await until_no_conflict(attempt)

    async def plan_resume(
        self, caller: Caller, run_id: str, node: str, which: Which, *, allow_completed: bool
    ) -> Plan:
        """Say what a resume would keep and execute, writing nothing.

        Raises:
            As `resume`.
        """
        original = await self._runs.find(caller.tenant, run_id)
        made = await self._cut(original, node, which, allow_completed=allow_completed)
        needs = await self._needs(original.state, made.cut.kept)
        if len(await self._journal.standing(needs)) < len(set(needs)):
            raise StateError("payload_erased", "What the new run would need was erased.")
        if await self._journal.read_segments(needs):
            raise await absent(self._journal, needs, "What the new run would need")
        return Plan(made.cut.kept, made.cut.executed, which)

    async def resume(
        self,
        caller: Caller,
        run_id: str,
        node: str,
        which: Which,
        *,
        allow_completed: bool,
        request: RequestKey | None,
    ) -> Started:
        """Start a run from the consistent cut at a node of an ended run.

        Raises:
            NotFoundError: there is no such run.
            StateError: `run_not_failed`, `definition_incompatible`, `payload_erased`,
                `payload_archived`.
            NodeNotFoundError, NodeNotCompletedError: nothing resumes from that node.
        """

        async def attempt() -> Started:
            original = await self._runs.find(caller.tenant, run_id)
            if request is not None and (earlier := await self._journal.requested(request)):
                return _repeated(earlier)
            made = await self._cut(original, node, which, allow_completed=allow_completed)
            payload = await self._runs.payload(original.state)
            kept = await self._with_inside(original.state, made.cut.kept)
            replays = list(replayable(original.events, kept))
            outputs = await self._kept_outputs(original.state, made.cut.kept)
            facts = msgspec.structs.replace(
                request_facts(
                    made.state,
                    made.number,
                    "resume",
                    original.state.origin.trigger_type,
                    request,
                ),
                chosen_node=node,
                in_doubt=" ".join(key for key in made.cut.in_doubt if place_of(key)[1] not in kept),
                kept=" ".join(kept),
                original_run=original.state.run_id,
                original_version=original.state.version,
                payload_run=original.state.origin.payload_run or original.state.run_id,
                replayed_total=len(replays),
            )
            needs = await self._needs(original.state, made.cut.kept)
            started = await self._begin(
                caller, made.state, facts, payload, request, replays, needs=needs
            )
            rest = replays[_FIRST_REPLAYED_MAX:]
            return msgspec.structs.replace(started, outputs=outputs, rest=rest)

        return await until_no_conflict(attempt)

    async def last_good_node(self, run: RunState) -> str:
        """Return the node to resume from when nobody chose one: the cut there keeps most.

        It is the newest success below which nothing was settled; where each success has a
        tolerated failure below it, the newest success.

        Raises:
            NodeNotCompletedError: nothing succeeded.
        """
        workflow = await self._workflows.find(run.tenant, run.origin.workflow)
        definition = await self._workflows.definition(workflow, run.origin.workflow_version)
        return last_good(definition.graph, run)

    async def _cut(
        self, original: LoadedRun, node: str, which: Which, *, allow_completed: bool
    ) -> _Resume:
        run = original.state
        workflow = await self._workflows.find(run.tenant, run.origin.workflow)
        if not run.is_ended:
            raise StateError("run_not_failed", "The run has not ended yet, so it can't be resumed.")
        if run.status == "completed" and not allow_completed:
            raise StateError("run_not_failed", "The run completed; nothing of it failed.")
        old = await self._workflows.definition(workflow, run.origin.workflow_version)
        if node not in old.steps:
            raise NodeNotFoundError(node)
        made = cut(old.graph, run, node)
        number = _number(run, workflow, which)
        if which == "current":
            made = await self._moved(old, workflow, number, made, run)
        return _Resume(node, original, workflow, number, made)

    async def _with_inside(self, run: RunState, kept: Sequence[str]) -> list[str]:
        """Return the kept nodes and those inside of them, by the definition that they ran by.

        That is the original's for what this run has itself only replayed.
        """
        workflow = await self._workflows.find(run.tenant, run.origin.workflow)
        request = run.origin
        left: list[str] = list(kept)
        found: dict[str, None] = {}
        while left:
            definition = await self._workflows.definition(workflow, request.workflow_version)
            replayed_ones = set(request.kept.split())
            found |= dict.fromkeys(
                definition.with_inside(node for node in left if node not in replayed_ones)
            )
            left = [node for node in left if node in replayed_ones]
            if left:
                first = await self._journal.read_stream(request.original_run, limit=1)
                assert isinstance(first[0].facts, e.RunRequested), "what every run begins with"
                request = first[0].facts
        return list(found)

    async def _moved(
        self, old: Definition, workflow: WorkflowState, number: int, made: Cut, run: RunState
    ) -> Cut:
        """Carry a cut over to the current definition."""
        new = await self._workflows.definition(workflow, number)
        check_compatible(old.graph, new.graph, new.components, made, run)
        return msgspec.structs.replace(made, executed=reachable(new.graph, run, made.kept))

    async def _needs(self, state: RunState, kept: Sequence[str]) -> list[int]:
        """Return the positions of the bodies without which a resume can't go on."""
        outputs = [state.nodes[node].body_at for node in kept]
        return [await self._runs.payload_at(state), *outputs]

    async def _kept_outputs(self, state: RunState, kept: Sequence[str]) -> dict[str, Any]:
        """Read what the kept nodes passed on, which the nodes after them need.

        Raises:
            StateError: `payload_erased`, `payload_archived`.
        """
        positions = {node: state.nodes[node].body_at for node in kept}
        bodies = await self._journal.read_bodies(list(positions.values()))
        missing = [position for position in positions.values() if position not in bodies]
        if missing:
            raise await absent(self._journal, missing, "An output that the new run needs")
        return {
            node: msgspec.json.decode(bodies[position].data) for node, position in positions.items()
        }

    async def _begin(
        self,
        caller: Caller,
        state: WorkflowState,
        facts: e.RunRequested,
        payload: dict[str, Any],
        request: RequestKey | None,
        replays: Sequence[Recorded] = (),
        *,
        needs: Sequence[int] = (),
    ) -> Started:
        """Append a run's beginning; `needs` are the bodies of others that it was decided by."""
        copies = [
            replayed(event, self._ids.new()) for event in islice(replays, _FIRST_REPLAYED_MAX)
        ]
        write = self._requests.write(caller, facts, payload, copies)
        guard = (state.workflow_id, state.version)
        appended = await self._journal.append(
            Commit([write], guards=[guard], request=request, needs=needs)
        )
        return (
            _repeated(appended) if appended.repeated else accepted(appended.events, write, payload)
        )


def _repeated(appended: Appended) -> Started:
    return Started(appended.events[0].stream, appended.events, True, b"", {}, {})


def _number(original: RunState, workflow: WorkflowState, which: Which) -> int:
    if which == "current":
        return workflow.current.number
    return original.origin.workflow_version


def _checked_part(payload: dict[str, Any], trigger_type: str) -> dict[str, Any]:
    """Return what the trigger's schema is about: of a webhook call, the body it sent."""
    part = payload.get("webhook_payload") if trigger_type == "webhook" else payload
    return part if is_object(part) else {"value": part}
