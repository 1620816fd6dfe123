"""What a run, a sub-workflow or an iterator's item comes to: the output of its last nodes.

Pure. The same rule answers a synchronous call, a waited-for child and an item, so that a graph
means the same wherever it stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..projections.node_state import SETTLED, NodeState
from .component import Json
from .graph import Graph


def final_nodes(graph: Graph, nodes: Mapping[str, NodeState]) -> list[str]:
    """Return the nodes whose outputs are the result, in the order of the graph.

    These are the ends of the ways that were taken: nodes that succeeded or were tolerated, and
    that no taken edge leaves. Where a `terminate` ended the graph it is the only one, because
    how far the other branches had come by then is a matter of speed.
    """
    for node in graph.nodes:
        state = nodes.get(node)
        if state is not None and state.phase == "succeeded" and state.terminates:
            return [node]
    return [node for node in graph.nodes if _is_final(graph, nodes.get(node))]


def result_of(final: Sequence[str], outputs: Mapping[str, Json]) -> Json:
    """Make the result of the outputs of the final nodes.

    One node's output is the result itself; several are an object by node id, none is `{}`.
    """
    if len(final) == 1:
        return outputs[final[0]]
    return {node: outputs[node] for node in final}


def _is_final(graph: Graph, state: NodeState | None) -> bool:
    if state is None or state.phase not in SETTLED:
        return False
    taken = graph.departure(state.node, state.handle, tolerated=state.phase == "tolerated")
    return all(edge.handle != taken for edge in graph.outgoing[state.node])
