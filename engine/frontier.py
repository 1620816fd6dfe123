"""The frontier: which nodes have become ready, kept up to date edge by edge.

A node runs once, when each of its incoming edges is settled (taken or dead) and at least one
was taken; when all are dead it is dead, and so are the edges that leave it. A node that nothing
leads to is dead from the beginning. Each edge is settled once, so a whole run costs no more than
its graph has edges.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..projections.node_state import SETTLED, NodeState
from ..projections.run_state import RunState
from .graph import Graph


class Frontier:
    """The moving border between what has run and what may run next."""

    def __init__(self, graph: Graph, known: Sequence[NodeState]) -> None:
        """Stand where the known nodes stand: crash recovery and resume begin here as well.

        They come in the order of their newest outcomes (see `known_in`).
        """
        self._graph = graph
        self._unsettled = {node: len(edges) for node, edges in graph.incoming.items()}
        self._reached: set[str] = set()
        self._passed: set[str] = {*graph.starts, *(node.node for node in known)}
        self.ready: list[str] = []
        """Nodes that may start, in the order in which they became ready."""
        begun = {node.node for node in known}
        self.ready.extend(node for node in graph.starts if node not in begun)
        self._bury(
            node for node in graph.nodes if not graph.incoming[node] and node not in self._passed
        )
        for node in known:
            if node.phase in SETTLED and node.node in self._unsettled:
                self.settle(node)

    def settle(self, node: NodeState) -> None:
        """Take a settled node's edges: those of its outcome are taken, all others dead."""
        departure = self._graph.departure(
            node.node, node.handle, tolerated=node.phase == "tolerated"
        )
        self._bury(self._leave(node.node, departure))

    def _bury(self, nodes: Iterable[str]) -> None:
        """Take dead nodes away, and those that this leaves without a way to them."""
        dead = list(nodes)
        for node in dead:
            self._passed.add(node)
            dead.extend(self._leave(node, None))

    def _leave(self, node: str, departure: str | None) -> list[str]:
        """Settle the edges that leave a node; return the targets that are dead by it."""
        dead: list[str] = []
        for edge in self._graph.outgoing[node]:
            target = edge.target
            self._unsettled[target] -= 1
            if departure is not None and edge.handle == departure:
                self._reached.add(target)
            if self._unsettled[target] or target in self._passed:
                continue
            self._passed.add(target)
            if target in self._reached:
                self.ready.append(target)
            else:
                dead.append(target)
        return dead


def known_in(state: RunState, iteration: str, nodes: Iterable[str]) -> list[NodeState]:
    """Return what is known of the nodes of one graph, in the order of their newest outcomes.

    What became ready then becomes ready in the same order, so that a recovered run chooses as
    the one that never died. Nodes without an outcome come last.
    """
    if not state.nodes:
        return []
    found = [known for node in nodes if (known := state.at((iteration, node))) is not None]
    return sorted(found, key=lambda known: known.outcome_version or state.version + 1)
