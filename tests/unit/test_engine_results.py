"""The result of a graph: the outputs at the ends of the ways that were taken."""

from __future__ import annotations

from typing import cast

import pytest

from refold.engine.graph import Edge, Graph
from refold.engine.results import final_nodes, result_of
from refold.projections.node_state import NodeState, Phase


def graph(*edges: str) -> Graph:
    """Make a graph of edges such as `t>a` or `a>b:true`; its nodes stand in order of mention."""
    made: list[Edge] = []
    for text in edges:
        way, _, handle = text.partition(":")
        source, target = way.split(">")
        made.append(Edge(source, target, handle))
    names = list(dict.fromkeys(end for edge in made for end in (edge.source, edge.target)))
    return Graph(names[0], names, made)


def states(**phases: str) -> dict[str, NodeState]:
    """Say how nodes ended: a phase, or a phase and the handle, as in `succeeded:true`."""
    made: dict[str, NodeState] = {}
    for node, text in phases.items():
        phase, _, handle = text.partition(":")
        made[node] = NodeState(node, "x", cast("Phase", phase), 1, 0, handle=handle)
    return made


@pytest.mark.parametrize(
    ("edges", "phases", "final"),
    [
        (["t>a", "a>b"], {"t": "succeeded", "a": "succeeded", "b": "succeeded"}, ["b"]),
        (["t>b", "t>a"], {"t": "succeeded", "a": "succeeded", "b": "succeeded"}, ["b", "a"]),
        (
            ["t>a", "a>b:true", "a>c:false"],
            {"t": "succeeded", "a": "succeeded:false", "c": "succeeded"},
            ["c"],
        ),
        # No edge stands on the chosen handle: that branch ends at the condition.
        (["t>a", "a>b:true"], {"t": "succeeded", "a": "succeeded:false"}, ["a"]),
        # A tolerated failure leaves by its error edges, and by the plain ones without them.
        (
            ["t>a", "a>b", "a>c:error"],
            {"t": "succeeded", "a": "tolerated", "c": "succeeded"},
            ["c"],
        ),
        (["t>a", "a>b"], {"t": "succeeded", "a": "tolerated", "b": "succeeded"}, ["b"]),
        (["t>a"], {"t": "succeeded", "a": "tolerated"}, ["a"]),
        # On success the error edges are dead.
        (["t>a", "a>c:error"], {"t": "succeeded", "a": "succeeded"}, ["a"]),
        (["t>a", "t>b"], {"t": "succeeded", "a": "failed", "b": "succeeded"}, ["b"]),
        (["t>a", "t>b"], {"t": "succeeded", "a": "interrupted", "b": "waiting"}, []),
        (["t>a"], {}, []),
    ],
)
def test_the_final_nodes_are_those_that_no_taken_edge_leaves(
    edges: list[str], phases: dict[str, str], final: list[str]
) -> None:
    """In the order of the graph, whatever the order in which they ended."""
    for order in (phases, dict(reversed(phases.items()))):
        assert final_nodes(graph(*edges), states(**order)) == final


def test_a_terminate_is_the_only_final_node() -> None:
    """How far another branch had come when it struck must not show in the result."""
    made = states(t="succeeded", a="succeeded", end="succeeded")
    made["end"].terminates = True
    assert final_nodes(graph("t>a", "t>end", "end>z"), made) == ["end"]


def test_a_graph_of_one_node_ends_with_it() -> None:
    """A trigger with nothing after it answers with its own output."""
    assert final_nodes(Graph("t", ["t"], []), states(t="succeeded")) == ["t"]


def test_one_output_is_the_result_and_several_are_an_object() -> None:
    """A caller of a straight line does not need to know the name of its last node."""
    outputs = {"a": [1], "b": {"x": 2}}
    assert result_of(["a"], outputs) == [1]
    assert result_of(["b", "a"], outputs) == {"b": {"x": 2}, "a": [1]}
    assert result_of([], outputs) == {}
