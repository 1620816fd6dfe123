"""Begins attempts: what each kind of node does first, and what of that is noted."""

from __future__ import annotations

from typing import Final

import msgspec

from ..journal import events as e
from ..projections.node_state import NodeState, Place
from . import decider
from .calls import Calls, PlannedCall, Result, timed_out, unexpected
from .component import (
    ChildNode,
    ChildRequest,
    EffectNode,
    FormNode,
    IteratorPlan,
    Json,
    NodeError,
    PureNode,
    TriggerNode,
    WaitNode,
)
from .definition import Definition, Step
from .limits import Limits
from .policy import SECOND_US
from .scope import Scope
from .transcript import Transcript


class PlannedChild(msgspec.Struct, frozen=True):
    """A run of another workflow that is to be started once its node's start is durable."""

    place: Place
    wanted: ChildRequest


class Attempts:
    """Begins the attempts of one run."""

    def __init__(
        self,
        limits: Limits,
        transcript: Transcript,
        definition: Definition,
        calls: Calls,
        payload: dict[str, Json],
    ) -> None:
        self._limits = limits
        self._transcript = transcript
        self._state = transcript.state
        self._definition = definition
        self._calls = calls
        self._payload = payload
        self._inherited_keys = decider.inherited_keys(transcript.state)
        self.children: Final[list[PlannedChild]] = []
        """Runs of other workflows that are to be started."""
        self.forms: Final[dict[Place, dict[str, Json]]] = {}
        """The open forms as they are shown."""

    def begin(
        self, scope: Scope, step: Step, number: int, now: int
    ) -> Result | IteratorPlan | None:
        """Return the outcome of a node that has it at once, None for one that was only begun.

        Of an iterator it returns what is to be done.

        Raises:
            NodeError: the attempt failed before it began.
        """
        node = step.run
        if isinstance(node, PureNode):
            return node.run(scope.context(step.node))
        if isinstance(node, TriggerNode):
            trigger_type = self._state.origin.trigger_type
            return node.start(self._payload, trigger_type, self._state.run_id)
        place, context = (scope.path, step.node), scope.context(step.node)
        if isinstance(node, EffectNode):
            key = decider.effect_key(self._state, place, self._inherited_keys)
            self._note_started(place, step, number, now, key, node.prepare(context))
            self._calls.plan(PlannedCall(place, step, key, context))
        elif isinstance(node, WaitNode):
            self._begin_wait(place, step, number, now, node.duration_us(context))
        elif isinstance(node, FormNode):
            self._ask(place, step, number, now, node.ask(context))
        elif isinstance(node, ChildNode):
            wanted = node.request(context)
            asked = {"workflow_id": wanted.workflow_id, "input": wanted.payload}
            self._note_started(place, step, number, now, "", asked)
            self.children.append(PlannedChild(place, wanted))
        else:
            plan = node.plan(context)
            shown = {"items": plan.items, "concurrency": plan.concurrency}
            self._note_started(place, step, number, now, "", shown)
            return plan
        return None

    def _begin_wait(self, place: Place, step: Step, number: int, now: int, wanted_us: int) -> None:
        duration, _ = decider.wait_us(wanted_us, step.policy)
        seconds, limit = duration / SECOND_US, self._limits.delay_seconds_max
        if seconds > limit:
            message = f"Node '{step.node}' would wait {seconds:g} s; the limit is {limit:g} s."
            raise NodeError("delay_invalid", message)
        self._note_started(place, step, number, now, "", {"seconds": seconds})
        self._transcript.note(e.TimerSet(due_at=now + duration, iteration=place[0], node=place[1]))

    def _ask(self, place: Place, step: Step, number: int, now: int, form: dict[str, Json]) -> None:
        assert isinstance(step.run, FormNode)
        self._note_started(place, step, number, now, "", None)
        timeout = step.run.timeout_us()
        self.forms[place] = form
        asked = e.InteractionRequested(
            due_at=now + timeout if timeout else 0,
            iteration=place[0],
            node=place[1],
            requested_at=now,
        )
        self._transcript.note(asked, form)

    def _note_started(
        self, place: Place, step: Step, number: int, now: int, key: str, rendered: Json
    ) -> None:
        self._transcript.note(
            e.NodeStarted(
                attempt=number,
                component=step.component,
                effect_key=key,
                iteration=place[0],
                node=place[1],
                started_at=now,
            ),
            rendered,
        )

    def end_of_wait(self, scope: Scope, node: NodeState) -> Result:
        """Tell a wait that is over from one that the node's time-out ended."""
        step = self._definition.steps[node.node]
        run, timeout = step.run, step.policy.timeout
        try:
            if isinstance(run, FormNode):
                return run.expire(self.forms[node.place])
            assert isinstance(run, WaitNode)
            if timeout is not None:
                wanted = run.duration_us(scope.context(step.node))
                if decider.wait_us(wanted, step.policy)[1]:
                    return timed_out(step.node, timeout)
            return run.finish(node.due_at - node.started_at)
        except NodeError as error:
            return error
        except Exception as error:
            return unexpected(self._state.run_id, step.node, error)
