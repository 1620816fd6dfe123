"""Runs single nodes that shape data, as they come from a definition."""

from __future__ import annotations

from typing import Any

from refold.engine.component import ConfigError, NodeError, Outcome, PureNode
from refold.engine.nodes.catalogue import compile_node


def compiled(component: str, **data: Any) -> PureNode[Any]:
    """Make the node of these data."""
    node = compile_node({"id": "n", "data": {"componentId": component, **data}}, "nodes[0]")
    assert isinstance(node, PureNode)
    return node


def outcome(component: str, data: dict[str, Any], **context: Any) -> Outcome:
    """Run a node of these data."""
    return compiled(component, **data).run(context)


def output(component: str, data: dict[str, Any], **context: Any) -> Any:
    """Give the output of a node of these data."""
    return outcome(component, data, **context).output


def faults(component: str, **data: Any) -> dict[str, list[str]]:
    """Say why a node can't be saved, with paths inside `data`; empty when it can."""
    try:
        compiled(component, **data)
    except ConfigError as error:
        return {
            path.removeprefix("nodes[0].data."): list(what) for path, what in error.errors.items()
        }
    return {}


def failure(component: str, data: dict[str, Any], **context: Any) -> NodeError:
    """Give the error of a node that must fail."""
    try:
        made = outcome(component, data, **context)
    except NodeError as error:
        return error
    raise AssertionError(made)


def strings(source: Any, *operations: dict[str, Any], **context: Any) -> Any:
    """Give what a `string_transform` makes of a value: its text, or its items."""
    data = {"source": "{{ source }}", "operations": list(operations)}
    made = output("string_transform", data, source=source, **context)
    return made["text"] if "text" in made else made["items"]
