"""`RunState`: what a run is, folded from its events. The first and most important projection.

It reads facts alone, never a body, so a fold is cheap and an erased run keeps its structure.
The same fold serves the engine's decisions, the answer to `GET /workflows/runs/{id}`, the views
and an auditor's replay.

Rules of this file:

1. `evolve` accepts whatever happened; facts are not argued with.
2. No clock, no randomness, no input or output.
3. The first decisive event (an untolerated failure or a `terminate`) is the run's ending; a
   later one is only logged. A failure inside an iterator fails its item alone.
4. A node is known by its id and the path of indexes inside iterators that it ran at, "" outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

import msgspec

from ..journal import events as e
from ..journal.envelope import Recorded
from .node_state import ITERATOR, NodeState, Place, index_of, outer_of

Status = Literal["pending", "running", "completed", "failed", "awaiting_ui_interaction"]
LogStatus = Literal["success", "error", "warning"]


class LogEntry(msgspec.Struct, frozen=True, gc=False):
    """One finished node attempt."""

    event_id: str
    node: str
    component: str
    status: LogStatus
    created_at: int
    started_at: int
    attempt: int
    iteration: str
    source_id: str
    position: int
    body_at: int


class Ending(msgspec.Struct, frozen=True, gc=False):
    """Why a run ends: the first untolerated failure, a `terminate`, or a request to stop."""

    status: Literal["completed", "failed"]
    code: str
    node: str
    body_at: int
    """The position of the body that says more: the failure's, the terminate's or the request's."""

    @property
    def is_asked_for(self) -> bool:
        """True where a request to stop, not a node, decided it."""
        return self.node == ""


class RunState(msgspec.Struct):
    """A run, as far as its facts tell."""

    run_id: str
    version: int = 0
    last_event_id: str = ""
    tenant: str = ""
    actor: str = ""
    corr: str = ""
    status: Status = "pending"
    requested: e.RunRequested | None = None
    requested_position: int = 0
    requested_body_at: int = 0
    created_at: int = 0
    started_at: int = 0
    limit_us: int = 0
    ended_at: int = 0
    replayed: int = 0
    """How many events of the original's cut have been copied so far."""
    cancelling: str = ""
    """The code of a request to stop (`cancelled`, `run_timeout`), "" without one."""
    ending: Ending | None = None
    failed_node: str = ""
    message_at: int = 0
    """The position of the body with the error message, 0 unless failed."""
    nodes: dict[str, NodeState] = msgspec.field(default_factory=dict)
    """The nodes outside of iterators."""
    inner: dict[Place, NodeState] = msgspec.field(default_factory=dict)
    """The nodes inside iterators."""
    open: dict[Place, NodeState] = msgspec.field(default_factory=dict)
    """The nodes of which something is still to come."""
    paused_us: int = 0
    """How long the run had nothing to do but wait for people, up to the newest event."""
    paused_at: int = 0
    """Since when it waits for people, 0 while it has something else to do."""
    has_forms: bool = False
    """Whether it ever asked a person: only then pauses need be looked for."""
    log: list[LogEntry] = msgspec.field(default_factory=list)

    @property
    def is_ended(self) -> bool:
        """True once the run's last event is in."""
        return self.ended_at > 0

    @property
    def is_stopping(self) -> bool:
        """True from the moment after which no new node starts."""
        return self.ending is not None or self.cancelling != ""

    def at(self, place: Place) -> NodeState | None:
        """Return what is known of a node at a place."""
        return self.inner.get(place) if place[0] else self.nodes.get(place[1])

    @property
    def origin(self) -> e.RunRequested:
        """The request that made the run."""
        assert self.requested is not None, "a run's first event is run.requested"
        return self.requested


def fold(run_id: str, events: Iterable[Recorded]) -> RunState:
    """Fold a run's events from the first one on."""
    state = RunState(run_id)
    for event in events:
        evolve(state, event)
    return state


def evolve(state: RunState, event: Recorded) -> None:
    """Bring the state past one event of its stream."""
    state.version = event.version
    state.last_event_id = event.id
    if event.src:
        state.replayed += 1
    step = _STEPS.get(type(event.facts))
    if step is not None:
        step(state, event, event.facts)


def _requested(state: RunState, event: Recorded, facts: e.RunRequested) -> None:
    state.requested = facts
    state.requested_position = event.position
    state.requested_body_at = event.body_at
    state.tenant, state.actor, state.corr = event.tenant, event.actor, event.corr
    state.created_at = event.at


def _started(state: RunState, _: Recorded, facts: e.RunStarted) -> None:
    state.status = "running"
    state.started_at = facts.started_at
    state.limit_us = facts.limit_us


def _completed(state: RunState, event: Recorded, _: e.RunCompleted) -> None:
    state.status = "completed"
    state.ended_at = event.at


def _failed(state: RunState, event: Recorded, facts: e.RunFailed) -> None:
    state.status = "failed"
    state.ended_at = event.at
    state.failed_node = facts.node
    state.message_at = event.body_at


def _cancelled(state: RunState, event: Recorded, _: e.RunCancelled) -> None:
    state.status = "failed"
    state.ended_at = event.at
    state.message_at = event.body_at


def _cancel_requested(state: RunState, event: Recorded, facts: e.RunCancelRequested) -> None:
    state.cancelling = facts.code
    if state.ending is None:
        state.ending = Ending("failed", facts.code, "", event.body_at)


def _node_started(state: RunState, event: Recorded, facts: e.NodeStarted) -> None:
    node = NodeState(
        facts.node,
        facts.component,
        "started",
        facts.attempt,
        facts.started_at,
        effect_key=facts.effect_key,
        iteration=facts.iteration,
        input_at=event.body_at,
    )
    _keep(state, node)
    state.open[node.place] = node
    if state.paused_at:
        _look_for_pause(state, facts.started_at)


def _timer_set(state: RunState, _: Recorded, facts: e.TimerSet) -> None:
    node = _known(state, facts)
    node.phase = "waiting"
    node.due_at = facts.due_at


def _asked(state: RunState, event: Recorded, facts: e.InteractionRequested) -> None:
    node = _known(state, facts)
    node.phase = "asked"
    node.due_at = facts.due_at
    node.input_at = event.body_at
    state.has_forms = True
    _look_for_pause(state, facts.requested_at)


def _answered(state: RunState, _: Recorded, facts: e.InteractionSubmitted) -> None:
    _known(state, facts).phase = "started"
    _look_for_pause(state, facts.submitted_at)


def _child_requested(state: RunState, _: Recorded, facts: e.ChildRequested) -> None:
    node = _known(state, facts)
    node.child = facts.child
    if facts.waits:
        node.phase = "child"


def _iteration_started(state: RunState, _: Recorded, facts: e.IterationStarted) -> None:
    node = _iterator(state, facts)
    node.phase = "iterating"
    assert node.items is not None
    node.items[index_of(facts.iteration)] = 0


def _iteration_ended(state: RunState, event: Recorded, facts: e.IterationEnded) -> None:
    node = _iterator(state, facts)
    assert node.items is not None
    node.items[index_of(facts.iteration)] = event.body_at


def _node_succeeded(state: RunState, event: Recorded, facts: e.NodeSucceeded) -> None:
    node = _attempt(state, event, facts)
    node.phase = "succeeded"
    node.handle = facts.handle
    node.body_at = event.body_at
    node.terminates = facts.ends != ""
    if state.ending is None and facts.ends == "completed":
        state.ending = Ending("completed", "terminated", facts.node, event.body_at)
    elif state.ending is None and facts.ends == "failed":
        state.ending = Ending("failed", "terminated", facts.node, event.body_at)
    _log(state, event, facts, "success")


def _node_failed(state: RunState, event: Recorded, facts: e.NodeFailed) -> None:
    node = _attempt(state, event, facts, stays_open=facts.retried == 1)
    node.body_at = event.body_at
    # The outcome of a call that a crash cut off is as unknown as that of one still on the wire.
    node.in_doubt = facts.code == "interrupted"
    if facts.retried:
        node.phase = "retrying"
        if state.paused_at:
            _look_for_pause(state, facts.ended_at)
    elif facts.tolerated:
        node.phase = "tolerated"
    else:
        node.phase = "failed"
        if state.ending is None and not facts.iteration:
            state.ending = Ending("failed", facts.code, facts.node, event.body_at)
    went_on = node.phase != "failed" or state.ending is None or state.ending.status == "completed"
    _log(state, event, facts, "warning" if went_on else "error")


def _node_interrupted(state: RunState, event: Recorded, facts: e.NodeInterrupted) -> None:
    node = _attempt(state, event, facts)
    node.phase = "interrupted"
    node.in_doubt = facts.in_doubt == 1
    node.body_at = event.body_at
    _log(state, event, facts, "warning")


def _retry_scheduled(state: RunState, _: Recorded, facts: e.NodeRetryScheduled) -> None:
    _known(state, facts).due_at = facts.due_at


_Outcome = e.NodeSucceeded | e.NodeFailed | e.NodeInterrupted
_OfNode = (
    e.TimerSet
    | e.InteractionRequested
    | e.InteractionSubmitted
    | e.ChildRequested
    | e.NodeRetryScheduled
)


def _keep(state: RunState, node: NodeState) -> None:
    if node.iteration:
        state.inner[node.place] = node
    else:
        state.nodes[node.node] = node


def _known(state: RunState, facts: _OfNode) -> NodeState:
    node = state.at((facts.iteration, facts.node))
    assert node is not None, "these events follow the node's start"
    return node


def _iterator(state: RunState, facts: e.IterationStarted | e.IterationEnded) -> NodeState:
    node = state.at((outer_of(facts.iteration), facts.node))
    assert node is not None, "an item belongs to an iterator that began"
    if node.items is None:
        node.items = {}
    return node


def _attempt(
    state: RunState, event: Recorded, facts: _Outcome, *, stays_open: bool = False
) -> NodeState:
    """Return the node's state: a pure node has no start of its own before its outcome."""
    place = (facts.iteration, facts.node)
    node = state.at(place)
    if node is None:
        node = NodeState(
            facts.node,
            facts.component,
            "started",
            facts.attempt,
            facts.started_at,
            iteration=facts.iteration,
        )
        _keep(state, node)
    node.attempt = facts.attempt
    node.due_at = 0
    node.outcome_version = event.version
    if stays_open:
        state.open[place] = node
    elif state.open.pop(place, None) is not None and state.has_forms:
        _look_for_pause(state, facts.ended_at)
    return node


def _look_for_pause(state: RunState, now: int) -> None:
    """Note since when the run only waits for people, or that it no longer does."""
    if state.status == "pending":
        # What a resumed run copies is history: nobody is asked again by it.
        return
    is_paused = False
    for node in state.open.values():
        if node.phase == "asked":
            is_paused = True
        elif node.component != ITERATOR or node.phase == "retrying":
            is_paused = False
            break
    if is_paused and not state.paused_at:
        state.paused_at = now
        state.status = "awaiting_ui_interaction"
    elif state.paused_at and not is_paused:
        state.paused_us += max(0, now - state.paused_at)
        state.paused_at = 0
        state.status = "running"


def _log(state: RunState, event: Recorded, facts: _Outcome, status: LogStatus) -> None:
    state.log.append(
        LogEntry(
            event.id,
            facts.node,
            facts.component,
            status,
            facts.ended_at,
            facts.started_at,
            facts.attempt,
            facts.iteration,
            facts.source_id,
            event.position,
            event.body_at,
        )
    )


_STEPS: Final[dict[type[e.Facts], Callable[[RunState, Recorded, Any], None]]] = {
    e.RunRequested: _requested,
    e.RunStarted: _started,
    e.RunCompleted: _completed,
    e.RunFailed: _failed,
    e.RunCancelRequested: _cancel_requested,
    e.RunCancelled: _cancelled,
    e.NodeStarted: _node_started,
    e.NodeSucceeded: _node_succeeded,
    e.NodeFailed: _node_failed,
    e.NodeInterrupted: _node_interrupted,
    e.NodeRetryScheduled: _retry_scheduled,
    e.TimerSet: _timer_set,
    e.InteractionRequested: _asked,
    e.InteractionSubmitted: _answered,
    e.ChildRequested: _child_requested,
    e.IterationStarted: _iteration_started,
    e.IterationEnded: _iteration_ended,
}
