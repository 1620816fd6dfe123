"""Which nodes become ready, edge by edge: joins, dead branches, handles, and standing anew."""

from __future__ import annotations

from typing import Literal

from refold.engine.frontier import Frontier, known_in
from refold.engine.graph import Graph
from refold.projections.node_state import NodeState
from refold.projections.run_state import RunState
from tests.support.run_events import graph


def settled(
    name: str, handle: str = "", phase: Literal["succeeded", "tolerated"] = "succeeded"
) -> NodeState:
    """Make a node that has its outcome."""
    return NodeState(name, "text_transform", phase, 1, 0, handle=handle)


def standing(made: Graph, *nodes: NodeState) -> Frontier:
    """Make the frontier of a run with these outcomes, in this order; all began by name."""
    state = RunState("fl_run_x")
    for node in sorted(nodes, key=lambda known: known.node):
        state.nodes[node.node] = node
    for version, node in enumerate(nodes, 1):
        node.outcome_version = version
    return Frontier(made, known_in(state, "", made.nodes))


def moved(made: Graph, *nodes: NodeState) -> Frontier:
    """Make the same frontier step by step, as an undisturbed run does."""
    frontier = standing(made)
    for node in nodes:
        frontier.ready.remove(node.node)
        frontier.settle(node)
    return frontier


def test_a_run_begins_with_its_trigger_alone() -> None:
    """Nodes that nothing leads to never run."""
    assert list(standing(graph("t>a", "b>c")).ready) == ["t"]


def test_a_fork_makes_all_targets_ready_in_the_order_of_the_edges() -> None:
    """Edges fan out in array order."""
    assert list(moved(graph("t>b", "t>a", "t>c"), settled("t")).ready) == ["b", "a", "c"]


def test_a_join_waits_for_each_of_its_edges() -> None:
    """It runs once, when the last of them is settled."""
    made = graph("t>a", "t>b", "a>j", "b>j")
    assert list(moved(made, settled("t"), settled("a")).ready) == ["b"]
    assert list(moved(made, settled("t"), settled("a"), settled("b")).ready) == ["j"]


def test_a_join_runs_with_one_edge_taken_and_the_others_dead() -> None:
    """Dead edges are settled too, however deep the branch that died."""
    made = graph("t>c", "c-true>a", "a>b", "b>j", "c-false>j")
    assert list(moved(made, settled("t"), settled("c", "false")).ready) == ["j"]


def test_a_node_whose_edges_are_all_dead_is_dead_and_so_is_what_follows() -> None:
    """The chosen handle without an edge ends the branch."""
    made = graph("t>c", "c-true>a", "a>b", "a>d", "b>e", "d>e")
    assert not moved(made, settled("t"), settled("c", "false")).ready


def test_a_way_in_from_a_node_that_nothing_leads_to_is_dead() -> None:
    """A loose node of an editor must not hold up the join that it is drawn to."""
    made = graph("t>a", "a>j", "loose>j", "far>loose")
    assert list(moved(made, settled("t"), settled("a")).ready) == ["j"]


def test_two_edges_from_one_node_to_another_count_apart() -> None:
    """A condition may lead to the same node by both handles."""
    made = graph("t>c", "c-true>a", "c-false>a")
    assert list(moved(made, settled("t"), settled("c", "true")).ready) == ["a"]


def test_a_tolerated_failure_leaves_by_its_error_edges_if_it_has_any() -> None:
    """Else by the plain ones; on success the error edges are dead."""
    made = graph("t>a", "a>good", "a-error>bad")
    assert list(moved(made, settled("t"), settled("a", "", "tolerated")).ready) == ["bad"]
    assert list(moved(made, settled("t"), settled("a")).ready) == ["good"]
    plain = graph("t>a", "a>good")
    assert list(moved(plain, settled("t"), settled("a", "", "tolerated")).ready) == ["good"]


def test_a_condition_that_failed_and_was_tolerated_has_no_plain_edge_to_leave_by() -> None:
    """It chose no handle, so its branch ends."""
    made = graph("t>c", "c-true>a", "c-false>b")
    assert not moved(made, settled("t"), settled("c", "", "tolerated")).ready


def test_a_frontier_that_stands_anew_is_the_one_that_moved_there() -> None:
    """Recovery finds the same nodes ready, in the same order, as before the crash."""
    made = graph("t>a", "t>b", "a>x", "b>y", "x>j", "y>j", "b>z")
    outcomes = settled("t"), settled("b"), settled("a")
    assert list(standing(made, *outcomes).ready) == list(moved(made, *outcomes).ready)
    assert list(standing(made, *outcomes).ready) == ["y", "z", "x"]


def test_an_open_node_is_neither_ready_again_nor_passed_by() -> None:
    """What was started and has no outcome is the execution's to take up."""
    made = graph("t>a", "a>b")
    state = RunState("fl_run_x")
    state.nodes["t"] = settled("t")
    state.nodes["a"] = NodeState("a", "webhook", "started", 1, 0)
    assert not Frontier(made, known_in(state, "", made.nodes)).ready
