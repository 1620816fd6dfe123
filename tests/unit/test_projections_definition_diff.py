"""How two versions of a workflow differ."""

from __future__ import annotations

import json
from typing import Any

import pytest

from refold.projections.definition_diff import (
    SAME,
    DefinitionDiff,
    EdgeChange,
    EdgeEnds,
    NodeChange,
    compare_definitions,
)
from refold.projections.json_patches import Patcher


def body(nodes: list[dict[str, Any]], edges: list[dict[str, Any]], **rest: Any) -> bytes:
    """Make the body of a version."""
    text = {"name": "w", "nodes": nodes, "edges": edges, **rest}
    return json.dumps({"by": "me", "workflow": text, "webhook_token": "sealed"}).encode()


def compared(left: bytes, right: bytes) -> DefinitionDiff:
    """Compare two bodies."""
    return compare_definitions(left, right, Patcher())


def edge(source: str, target: str, **rest: Any) -> dict[str, Any]:
    """Make an edge."""
    return {"source": source, "target": target, **rest}


A: dict[str, Any] = {"id": "a", "data": {"x": 1}}
B: dict[str, Any] = {"id": "b", "data": {}}


def test_order_places_on_the_canvas_and_names_of_edges_are_no_difference() -> None:
    """An editor changes them without changing what the workflow does."""
    left = body([A, B], [edge("a", "b", id="1"), edge("b", "a", sourceHandle="true")])
    right = body(
        [{**B, "position": {"x": 1}}, {**A, "position": {"y": 2}}],
        [edge("b", "a", sourceHandle="true"), edge("a", "b", id="2", sourceHandle="default")],
    )
    assert compared(left, right) == SAME
    sealed = left.replace(b"sealed", b"sealed anew")
    assert compared(left, sealed) == SAME


def test_nodes_are_added_removed_and_changed() -> None:
    """Each by its id; of a changed one the patch says what."""
    changed = {"id": "a", "data": {"x": 2}}
    found = compared(body([A, B], []), body([changed, {"id": "c", "data": {}}], []))
    assert found.result == "changed"
    patch = b'[{"op":"replace","path":"/data/x","value":2}]'
    assert found.nodes == [
        NodeChange("a", "changed", patch),
        NodeChange("b", "removed", None),
        NodeChange("c", "added", None),
    ]


@pytest.mark.parametrize(
    ("left", "right", "changes"),
    [
        ([edge("a", "b")], [], [("removed", "a>b", None)]),
        ([], [edge("a", "b")], [("added", None, "a>b")]),
        ([edge("a", "b", id="1")], [edge("a", "c", id="1")], [("changed", "a>b", "a>c")]),
        (
            [edge("a", "b", id="1")],
            [edge("a", "c", id="2")],
            [("removed", "a>b", None), ("added", None, "a>c")],
        ),
        (
            [edge("a", "b", sourceHandle="true", id="1")],
            [edge("a", "b", sourceHandle="false", id="1")],
            [("changed", "a-true>b", "a-false>b")],
        ),
        ([edge("a", "b"), edge("a", "b")], [edge("a", "b", sourceHandle=None)], []),
    ],
)
def test_edges_are_compared_by_what_they_do(
    left: list[dict[str, Any]], right: list[dict[str, Any]], changes: list[Any]
) -> None:
    """An id counts only where it says that an edge was led elsewhere."""

    def shown(ends: EdgeEnds | None) -> str | None:
        if ends is None:
            return None
        return f"{ends.source}{'-' if ends.handle else ''}{ends.handle}>{ends.target}"

    def told(change: EdgeChange) -> Any:
        return change.change, shown(change.left), shown(change.right)

    assert [told(one) for one in compared(body([A], left), body([A], right)).edges] == changes


def test_settings_are_all_the_rest() -> None:
    """A schedule or a name is a part of a definition too."""
    found = compared(body([A], []), body([A], [], schedule_value="09:00"))
    assert found.result == "changed"
    assert found.settings == b'[{"op":"add","path":"/schedule_value","value":"09:00"}]'
    assert (found.nodes, found.edges) == ([], [])
