"""Faulty iterators and steps: refused on save, by the path of the field."""

from __future__ import annotations

from typing import Any

import pytest

from refold.engine.definition import DefinitionError
from tests.support.simulated import TRIGGER, Simulated, edge, line, node
from tests.support.virtual_time import run_virtually


def each(name: str, body: list[dict[str, Any]], edges: Any = (), **data: Any) -> dict[str, Any]:
    """Write an iterator over the trigger's list."""
    data.setdefault("items", "{{ trigger.list }}")
    return node(name, "iterator", nodes=body, edges=list(edges), **data)


def text(name: str, template: Any) -> dict[str, Any]:
    """Write a node that renders a template."""
    return node(name, "text_transform", template=template)


@pytest.mark.parametrize(
    ("iterator", "path", "says"),
    [
        (each("it", []), "nodes[1].data.nodes", "at least one"),
        (each("it", [text("start", "x")]), "nodes[1].data.nodes[0].id", "another node"),
        (each("it", [node("m", "manual_trigger")]), "nodes[1].data.nodes[0].data", "trigger"),
        (each("it", [text("item", "x")]), "nodes[1].data.nodes[0].id", "root"),
        (each("it", [node("w", "webhook")]), "nodes[1].data.nodes[0].data.url", "required"),
        (each("it", [text("x", "x")], [edge("x", "y")]), "nodes[1].data.edges[0].target", "'y'"),
        (
            each("it", [text("x", "x"), text("y", "y")], [edge("x", "y"), edge("y", "x")]),
            "nodes[1].data.edges",
            "cycle",
        ),
        (each("it", [text("x", "x")], items=5), "nodes[1].data.items", "a number"),
        (each("it", [text("x", "x")], items="a b"), "nodes[1].data.items", "path"),
        (each("it", [text("x", "x")], items="{{ a"), "nodes[1].data.items", "closed"),
        (each("it", [text("x", "x")], items=[0] * 1001), "nodes[1].data.items", "limit"),
        (each("it", [text("x", "x")], mode="wild"), "nodes[1].data.mode", "wild"),
        (each("it", [text("x", "x")], concurrency=0), "nodes[1].data.concurrency", ">= 1"),
        (each("it", [text("x", "x")], concurrency=101), "nodes[1].data.concurrency", "<= 100"),
        (each("it", [text("x", "x")], retry={"max_attempts": 2}), "nodes[1].data.retry", "inside"),
        (each("it", [text("x", "x")], timeout=0), "nodes[1].data.timeout", "> 0"),
        (each("it", [text(f"n{i}", "x") for i in range(500)]), "nodes[1].data.nodes", "at most"),
    ],
)
def test_a_faulty_body_is_refused_by_its_path(iterator: Any, path: str, says: str) -> None:
    """The author reads where it is, however deep."""

    async def scenario() -> None:
        sim = Simulated()
        with pytest.raises(DefinitionError) as refused:
            await sim.define([TRIGGER, iterator], line("start", "it"))
        found = refused.value.errors
        assert any(where.startswith(path) and says in str(found[where]) for where in found), found
        await sim.close()

    run_virtually(scenario())


@pytest.mark.parametrize(
    ("data", "path", "says"),
    [
        ({}, "workflow_id", "required"),
        ({"workflow_id": 5}, "workflow_id", "str"),
        ({"workflow_id": "{{ trigger.w }}"}, "workflow_id", "id of a workflow"),
        ({"workflow_id": "../secret"}, "workflow_id", "id of a workflow"),
        ({"workflow_id": "fl_" + "0" * 26, "input": "text"}, "input", "object"),
        ({"workflow_id": "fl_" + "0" * 26, "input": [1]}, "input", "object"),
        ({"workflow_id": "fl_" + "0" * 26, "wait": "yes"}, "wait", "bool"),
        ({"workflow_id": "fl_" + "0" * 26, "retry": {"max_attempts": 2}}, "retry", "second run"),
        ({"workflow_id": "fl_" + "0" * 26, "timeout": "soon"}, "timeout", "float"),
    ],
)
def test_a_faulty_step_is_refused_by_its_field(data: Any, path: str, says: str) -> None:
    """The message says what the field must be."""

    async def scenario() -> None:
        sim = Simulated()
        step = node("s", "trigger_workflow", **data)
        with pytest.raises(DefinitionError) as refused:
            await sim.define([TRIGGER, step], line("start", "s"))
        assert says in refused.value.errors[f"nodes[1].data.{path}"][0]
        await sim.close()

    run_virtually(scenario())
