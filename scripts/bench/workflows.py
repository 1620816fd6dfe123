"""The workflows that are measured, and the requests that execute them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

CONTEXT: Final = {"user": {"id": "u1", "name": "Ada"}, "amount": 42}
"""The trigger payload of every run."""
FAN_OUT: Final = 200


def pure(nodes: int = 5) -> dict[str, Any]:
    """Return a chain of nodes that touch nothing: texts, a number and a condition, over again."""
    steps = [(f"n{place}", _pure_node(place)) for place in range(nodes)]
    return chain("pure", steps)


def _pure_node(place: int) -> dict[str, Any]:
    if place == 0:
        return text("Hello {{ trigger.user.name }}")
    if place % 5 == 2:
        left = "{{ n1.n }}"
        return {
            "componentId": "number_condition",
            "left": left,
            "operator": "greater_than",
            "right": 10,
        }
    if place % 5 == 1:
        return text({"n": "{{ trigger.amount }}"})
    return text("{{ n0.text }}!")


def calls(sink_port: int, nodes: int = 5) -> dict[str, Any]:
    """Return a chain of webhook nodes, each of which waits for the sink's answer."""
    data = {
        "componentId": "webhook",
        "url": f"http://127.0.0.1:{sink_port}/",
        "body": {"id": "{{ trigger.user.id }}"},
    }
    return chain("calls", [(f"call{place}", data) for place in range(nodes)])


def synchronous() -> dict[str, Any]:
    """Return a workflow that answers its caller."""
    last = text({"greeting": "Hello {{ payload.user.name }}"}) | {"is_response": True}
    return chain(
        "sync", [("double", text("{{ payload.amount }}")), ("answer", last)], "sync_request_trigger"
    )


def fork_and_join(branches: int = FAN_OUT) -> dict[str, Any]:
    """Return a workflow of so many branches that begin and end in one node."""
    sides = [f"b{place}" for place in range(branches)]
    made = chain("fork", [])
    made["nodes"] += [
        {"id": side, "type": "action", "data": text("{{ trigger.amount }}")} for side in sides
    ]
    made["nodes"].append({"id": "join", "type": "action", "data": text("{{ b0.text }}")})
    made["edges"] += [{"id": f"out-{side}", "source": "start", "target": side} for side in sides]
    made["edges"] += [{"id": f"in-{side}", "source": side, "target": "join"} for side in sides]
    return made


def failing(nodes: int, sink_port: int) -> dict[str, Any]:
    """Return a chain of pure nodes whose last one calls what refuses."""
    steps = [(f"n{place}", _pure_node(place)) for place in range(nodes - 1)]
    refused = {"componentId": "webhook", "url": f"http://127.0.0.1:{sink_port}/refuse"}
    return chain("failing", [*steps, ("last", refused)])


def chain(
    name: str,
    steps: list[tuple[str, dict[str, Any]]],
    trigger: str = "manual_trigger",
    **fields: Any,
) -> dict[str, Any]:
    """Return a workflow of a trigger and these nodes, one after the other."""
    nodes: list[dict[str, Any]] = [
        {"id": "start", "type": "trigger", "data": {"componentId": trigger}}
    ]
    nodes += [{"id": node, "type": "action", "data": data} for node, data in steps]
    edges: list[dict[str, str]] = []
    for index, (before, after) in enumerate(pairwise(nodes)):
        edge = {"id": f"e{index}", "source": before["id"], "target": after["id"]}
        if before["data"]["componentId"].endswith("_condition"):
            edge["sourceHandle"] = "true"
        edges.append(edge)
    return {"name": name, "nodes": nodes, "edges": edges, **fields}


def text(template: Any) -> dict[str, Any]:
    """Return the data of a node that renders a template."""
    return {"componentId": "text_transform", "template": template}
