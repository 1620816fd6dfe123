"""What a definition may say about its nodes and edges, and how each fault is named."""

from __future__ import annotations

from typing import Any

import pytest

from refold.engine.definition import Definition, DefinitionError, compile_definition
from tests.support.simulated import TRIGGER, edge, line, node

TEXT = node("a", "text_transform", template="x")
CONDITION = node("c", "string_condition", left="x", operator="equals", right="x")
SWITCH = node("s", "switch", value="x", cases=[{"handle": "one", "equals": "x"}])


def compiled(nodes: Any, edges: Any = (), nodes_max: int = 500) -> Definition:
    """Compile with a default limit; no edges is an empty array."""
    return compile_definition(nodes, edges or [], nodes_max=nodes_max)


def faults(nodes: Any, edges: Any = (), nodes_max: int = 500) -> dict[str, list[str]]:
    """Return what a definition is refused for."""
    with pytest.raises(DefinitionError) as caught:
        compiled(nodes, edges, nodes_max)
    return caught.value.errors


@pytest.mark.parametrize(
    ("nodes", "edges", "path", "fault"),
    [
        ([], [], "nodes", "at least one node"),
        ({}, [], "nodes", "must be an array"),
        ([TRIGGER], {"a": 1}, "edges", "must be an array"),
        (["x"], [], "nodes[0]", "must be an object"),
        ([TRIGGER], ["x"], "edges[0]", "must be an object"),
        ([TRIGGER, {"id": "a", "type": "webhook", "data": [1]}], [], "nodes[1].data", "object"),
        ([TEXT], [], "nodes", "exactly one trigger"),
        ([TRIGGER, {**TRIGGER, "id": "t2"}], [], "nodes[1]", "exactly one trigger"),
        ([TRIGGER, node("a", "nonsense")], [], "nodes[1].data.componentId", "no component"),
        ([TRIGGER, {"id": "a"}], [], "nodes[1].data.componentId", "no component"),
        ([TRIGGER, {**TEXT, "id": 7}], [], "nodes[1].id", "must be 1 to 64"),
        ([TRIGGER, {**TEXT, "id": "a b"}], [], "nodes[1].id", "must be 1 to 64"),
        ([TRIGGER, {**TEXT, "id": "a:b"}], [], "nodes[1].id", "must be 1 to 64"),
        ([TRIGGER, {**TEXT, "id": "start"}], [], "nodes[1].id", "another node already"),
        ([TRIGGER, {**TEXT, "id": "run"}], [], "nodes[1].id", "root of the template context"),
        ([TRIGGER, {**TEXT, "id": "trigger"}], [], "nodes[1].id", "root of the template context"),
        ([TRIGGER, TEXT], [edge("start", "b")], "edges[0].target", "no node 'b'"),
        ([TRIGGER, TEXT], [{"source": 1, "target": "a"}], "edges[0].source", "id of a node"),
        ([TRIGGER, TEXT], [edge("a", "start")], "edges[0].target", "can't have incoming"),
        ([TRIGGER, TEXT], line("start", "a", "a"), "edges", "part of a cycle"),
        ([TRIGGER, TEXT], [edge("start", "a", "true")], "edges[0].sourceHandle", "no handles"),
        (
            [TRIGGER, TEXT],
            [{**edge("start", "a"), "sourceHandle": 1}],
            "edges[0].sourceHandle",
            "must be a string",
        ),
        ([TRIGGER, CONDITION, TEXT], [edge("c", "a")], "edges[0].sourceHandle", "by a handle"),
        (
            [TRIGGER, CONDITION, TEXT],
            [edge("c", "a", "default")],
            "edges[0].sourceHandle",
            "by a handle",
        ),
        (
            [TRIGGER, CONDITION, TEXT],
            [edge("c", "a", "maybe")],
            "edges[0].sourceHandle",
            "no handle 'maybe'",
        ),
        (
            [TRIGGER, {**TEXT, "data": {**TEXT["data"], "timeout": 0}}],
            [],
            "nodes[1].data.timeout",
            "expected",
        ),
        (
            [TRIGGER, {**TEXT, "data": {**TEXT["data"], "retry": {"max_attempts": 0}}}],
            [],
            "nodes[1].data.retry.max_attempts",
            "expected",
        ),
        (
            [node("start", "manual_trigger", continue_on_error=True)],
            [],
            "nodes[0].data",
            "can't fail",
        ),
    ],
)
def test_a_definition_that_cannot_run_is_refused_by_path(
    nodes: Any, edges: Any, path: str, fault: str
) -> None:
    """Each fault stands under the path of what is wrong, so that an editor can show it there."""
    found = faults(nodes, edges)
    assert any(fault in said for said in found[path]), found


def test_every_fault_is_told_at_once() -> None:
    """An author mends a definition in one go."""
    found = faults(
        [TRIGGER, node("a", "webhook"), node("b", "nonsense"), node("d", "delay", duration=-1)],
        [edge("start", "x"), edge("start", "a", "odd")],
    )
    assert set(found) == {
        "nodes[1].data.url",
        "nodes[2].data.componentId",
        "nodes[3].data.duration",
        "edges[0].target",
        "edges[1].sourceHandle",
    }


def test_a_longer_cycle_names_the_nodes_on_it_and_no_others() -> None:
    """What leads to a cycle, or away from it, is not to blame."""
    texts = [{**TEXT, "id": name} for name in "abcd"]
    found = faults([TRIGGER, *texts], line("start", "a", "b", "c", "b") + line("c", "d"))
    assert found == {"edges": ["node 'b' is part of a cycle", "node 'c' is part of a cycle"]}


def test_retry_and_at_most_once_exclude_each_other() -> None:
    """A node that is never tried again can't have a policy for it."""
    data = {"retry": {"max_attempts": 2}, "delivery": "at_most_once"}
    found = faults([TRIGGER, {**TEXT, "data": {**TEXT["data"], **data}}])
    assert "can't be combined" in found["nodes[1].data.delivery"][0]


def test_what_an_editor_leaves_empty_counts_as_absent() -> None:
    """Nulls in the common fields are what a form stores that nobody filled in."""
    empty = {"continue_on_error": None, "retry": None, "timeout": None, "delivery": None}
    made = compiled([TRIGGER, {**TEXT, "data": {**TEXT["data"], **empty}}])
    assert made.steps["a"].policy == compiled([TRIGGER, TEXT]).steps["a"].policy


def test_all_spellings_of_a_plain_edge_are_one_edge() -> None:
    """Absent, null, empty and `default` mean the same, so a doubled edge is settled once."""
    edges = [edge("start", "a"), *[{**edge("start", "a"), "sourceHandle": h} for h in (None, "")]]
    made = compiled([TRIGGER, TEXT], [*edges, edge("start", "a", "default")])
    assert [e.handle for e in made.graph.incoming["a"]] == [""]


def test_the_default_of_a_switch_is_a_handle() -> None:
    """A switch has no plain edges, and `default` is one of its ways out."""
    made = compiled([TRIGGER, SWITCH, TEXT], [edge("start", "s"), edge("s", "a", "default")])
    assert made.graph.incoming["a"][0].handle == "default"


def test_too_many_nodes_are_refused_before_they_are_read() -> None:
    """The limit is configurable; the message says both numbers."""
    assert "at most 1 nodes are allowed, here are 2" in faults([TRIGGER, TEXT], (), 1)["nodes"][0]


def test_a_node_sees_what_leads_to_it_and_nothing_else() -> None:
    """Whether another branch has run by then is a matter of speed."""
    texts = [{**TEXT, "id": name} for name in "abcd"]
    graph = compiled([TRIGGER, *texts], line("start", "a", "c") + line("start", "b", "d")).graph
    assert graph.upstream("c") == ("start", "a")
    assert graph.downstream(["a"]) == {"c"}
    assert graph.downstream(["start"]) == {"a", "b", "c", "d"}
