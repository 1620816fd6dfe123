"""The consistent cut: what a resumed run keeps of its original, and what it replays.

*Kept* is every node that succeeded, or failed and was tolerated, and is not downstream of the
chosen node, the chosen node itself included; a `terminate` is never kept. Whatever happened
before a kept node is kept too, so the cut is closed under "happened before" and does not depend
on which branch was faster.

Replayed are all node-scoped events of the kept nodes, in journal order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from ..journal import events as e
from ..journal.envelope import Recorded, source
from ..journal.journal import NewEvent
from ..projections.node_state import SETTLED, NodeState
from ..projections.run_state import RunState
from .decider import inherited_keys
from .errors import NodeNotCompletedError, StateError
from .graph import Graph

NODE_SCOPED: Final = (
    e.NodeStarted,
    e.NodeSucceeded,
    e.NodeFailed,
    e.NodeInterrupted,
    e.NodeRetryScheduled,
    e.TimerSet,
    e.TimerFired,
    e.InteractionRequested,
    e.InteractionSubmitted,
    e.ChildRequested,
    e.ChildEnded,
    e.IterationStarted,
    e.IterationEnded,
)
_OUTCOMES: Final = (e.NodeSucceeded, e.NodeFailed, e.NodeInterrupted)


class Cut(msgspec.Struct, frozen=True):
    """Where a resumed run begins."""

    kept: tuple[str, ...]
    """In the order of the definition."""
    executed: tuple[str, ...]
    """All other nodes that can still be reached; what then runs is never outside of these."""
    in_doubt: tuple[str, ...]
    """Effect keys of calls of the original whose outcome nobody knows."""


def cut(graph: Graph, state: RunState, chosen: str) -> Cut:
    """Cut an ended run at a node of its definition.

    Raises:
        NodeNotCompletedError: the node has no success of its own to carry on from.
    """
    known = state.nodes.get(chosen)
    if known is None or known.phase != "succeeded" or known.terminates:
        raise NodeNotCompletedError(chosen)
    below = graph.downstream([chosen])
    kept = tuple(
        node for node in graph.nodes if node not in below and _is_keepable(state.nodes.get(node))
    )
    return Cut(kept, reachable(graph, state, kept), doubts(state, kept))


def last_good(graph: Graph, state: RunState) -> str:
    """Return the newest success below which nothing was settled, else the newest success.

    Raises:
        NodeNotCompletedError: nothing succeeded.
    """
    settled = {node for node, known in state.nodes.items() if _is_keepable(known)}
    good = [
        entry.node
        for entry in reversed(state.log)
        if entry.status == "success" and entry.node in settled
    ]
    for node in good:
        if not settled & graph.downstream([node]):
            return node
    if not good:
        raise NodeNotCompletedError(graph.trigger)
    return good[0]


def reachable(graph: Graph, state: RunState, kept: Iterable[str]) -> tuple[str, ...]:
    """Return the nodes that the edges taken by kept nodes can still lead to."""
    kept = set(kept)
    starts: set[str] = set()
    for node in kept:
        known = state.nodes[node]
        handle = graph.departure(node, known.handle, tolerated=known.phase == "tolerated")
        starts.update(
            edge.target
            for edge in graph.outgoing[node]
            if edge.handle == handle and edge.target not in kept
        )
    found = starts | graph.downstream(starts)
    return tuple(node for node in graph.nodes if node in found and node not in kept)


def doubts(state: RunState, kept: Iterable[str]) -> tuple[str, ...]:
    """Return the effect keys that a continuation must use again: nobody knows what became of them.

    A doubt that the original itself inherited, and did not settle by an attempt of its own, is
    passed on.
    """
    settled = set(kept)
    open_keys = inherited_keys(state)
    for node in (*state.nodes.values(), *state.inner.values()):
        if not node.effect_key:
            # No call was made here, so what is in doubt still is.
            continue
        if node.in_doubt:
            open_keys[node.place] = node.effect_key
        else:
            open_keys.pop(node.place, None)
    return tuple(key for (_, node), key in open_keys.items() if node not in settled)


def check_compatible(
    old: Graph, new: Graph, components: dict[str, str], cut_: Cut, state: RunState
) -> None:
    """See that an edited definition can carry on from a cut of the old one.

    Every kept node still exists, with the same component (`components` are the new
    definition's) and the same incoming edges from kept nodes.

    Raises:
        StateError: `definition_incompatible`, naming the nodes that changed.
    """
    kept = set(cut_.kept)
    changed = [
        node
        for node in cut_.kept
        if components.get(node) != state.nodes[node].component
        or _ways_in(old, node, kept) != _ways_in(new, node, kept)
    ]
    if changed:
        names = ", ".join(f"'{node}'" for node in changed)
        raise StateError(
            "definition_incompatible",
            f"The current definition can't carry on from there: it changed {names}.",
        )


def replayable(events: Iterable[Recorded], kept: Iterable[str]) -> Iterator[Recorded]:
    """Return the events of the original that a resume replays."""
    kept = set(kept)
    for event in events:
        facts = event.facts
        if isinstance(facts, NODE_SCOPED) and facts.node in kept:
            yield event


def replayed(event: Recorded, new_id: str) -> NewEvent:
    """Copy an event for the new stream: its facts, its commitment, and where it came from."""
    facts = event.facts
    if isinstance(facts, _OUTCOMES):
        facts = msgspec.structs.replace(facts, source_id=event.id)
    return NewEvent(new_id, facts, src=source(event), payload=event.payload, body_at=event.body_at)


def _is_keepable(node: NodeState | None) -> bool:
    return node is not None and node.phase in SETTLED and not node.terminates


def _ways_in(graph: Graph, node: str, kept: set[str]) -> set[tuple[str, str]]:
    return {
        (edge.source, edge.handle) for edge in graph.incoming.get(node, ()) if edge.source in kept
    }
