"""The frontier: which nodes have become ready, kept up to date edge by edge.

A node runs once, when each of its incoming edges is settled (taken or dead) and at least one
was taken; when all are dead it is dead, and so are the edges that leave it. Each edge is
settled once, so a whole run costs no more than its graph has edges.
"""

from __future__ import annotations

from collections import deque

from ..projections.run_state import SETTLED, NodeState, RunState
from .graph import Graph


class Frontier:
    """The moving border between what has run and what may run next."""

    def __init__(self, graph: Graph, state: RunState) -> None:
        """Stand where the state stands: crash recovery and resume begin here as well."""
        self._graph = graph
        self._unsettled = {node: len(edges) for node, edges in graph.incoming.items()}
        self._reached: set[str] = set()
        self._passed: set[str] = set()
        self.ready: deque[str] = deque()
        """Nodes that may start, in the order in which they became ready."""
        known = state.nodes
        if graph.trigger not in known:
            self.ready.append(graph.trigger)
        self._passed.update(known)
        for node in known.values():
            if node.phase in SETTLED and node.node in self._unsettled:
                self.settle(node)

    def settle(self, node: NodeState) -> None:
        """Take a settled node's edges: those of its outcome are taken, all others dead."""
        self._passed.add(node.node)
        departure = self._graph.departure(
            node.node, node.handle, tolerated=node.phase == "tolerated"
        )
        dead: deque[tuple[str, str | None]] = deque([(node.node, departure)])
        while dead:
            source, handle = dead.popleft()
            for edge in self._graph.outgoing[source]:
                target = edge.target
                self._unsettled[target] -= 1
                if edge.handle == handle:
                    self._reached.add(target)
                if self._unsettled[target] or target in self._passed:
                    continue
                self._passed.add(target)
                if target in self._reached:
                    self.ready.append(target)
                else:
                    dead.append((target, None))
