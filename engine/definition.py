"""A workflow definition, read and checked: nodes compiled, policies read, the graph built.

A definition that can't run is refused when it is saved, with one entry for each fault and its
path; so what the runner gets always can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from .component import (
    ConfigError,
    EffectNode,
    PureNode,
    TriggerNode,
    WaitNode,
    is_list,
    is_object,
)
from .fields import check_fields
from .graph import Edge, Errors, Graph, check_edges, check_node_ids, read_edge
from .nodes.catalogue import CATALOGUE, compile_node, component_of
from .policy import NodePolicy

AnyNode = TriggerNode[Any] | PureNode[Any] | EffectNode[Any] | WaitNode[Any]
EDGES_PER_NODE_MAX: Final = 20


class DefinitionError(Exception):
    """A definition can't run: `errors` maps each path to its faults."""

    def __init__(self, errors: Mapping[str, Sequence[str]]) -> None:
        count = sum(len(faults) for faults in errors.values())
        super().__init__(f"The definition has {count} fault{'' if count == 1 else 's'}.")
        self.errors = {path: list(faults) for path, faults in errors.items()}


class Step(msgspec.Struct, frozen=True):
    """One node, ready to be run."""

    node: str
    component: str
    run: AnyNode
    policy: NodePolicy


class Definition:
    """A compiled definition."""

    def __init__(self, steps: Mapping[str, Step], graph: Graph) -> None:
        self.steps: Final = steps
        self.graph: Final = graph

    @property
    def trigger(self) -> TriggerNode[Any]:
        """The node that starts the workflow."""
        node = self.steps[self.graph.trigger].run
        assert isinstance(node, TriggerNode)
        return node

    @property
    def components(self) -> dict[str, str]:
        """Each node's component."""
        return {node: step.component for node, step in self.steps.items()}


def compile_definition(nodes: Any, edges: Any, *, nodes_max: int) -> Definition:
    """Check and compile a definition.

    Raises:
        DefinitionError: with every fault that was found.
    """
    errors = _check_shape(nodes, edges, nodes_max)
    if errors:
        raise DefinitionError(errors)
    steps: dict[str, Step] = {}
    handles: dict[str, tuple[str, ...] | None] = {}
    for index, raw in enumerate(nodes):
        step = _compile_step(raw, f"nodes[{index}]", errors)
        if isinstance(raw.get("id"), str):
            handles[raw["id"]] = None if step is None else step.run.handles
        if step is not None:
            steps[step.node] = step
    trigger = _find_trigger(nodes, errors)
    errors |= check_node_ids([raw.get("id") for raw in nodes], trigger)
    errors |= check_edges(edges, handles, trigger)
    if errors:
        raise DefinitionError(errors)
    return Definition(steps, _graph(trigger, steps, edges))


def _graph(trigger: str, steps: Mapping[str, Step], edges: Sequence[Mapping[str, Any]]) -> Graph:
    made: list[Edge] = [read_edge(edge, bool(steps[edge["source"]].run.handles)) for edge in edges]
    return Graph(trigger, list(steps), list(dict.fromkeys(made)))


def _check_shape(nodes: Any, edges: Any, nodes_max: int) -> Errors:
    errors: Errors = {}
    if not is_list(nodes):
        errors["nodes"] = ["must be an array of nodes"]
    elif not nodes:
        errors["nodes"] = ["at least one node is needed"]
    elif len(nodes) > nodes_max:
        errors["nodes"] = [f"at most {nodes_max} nodes are allowed, here are {len(nodes)}"]
    if not is_list(edges):
        errors["edges"] = ["must be an array of edges"]
    elif len(edges) > nodes_max * EDGES_PER_NODE_MAX:
        errors["edges"] = [f"at most {nodes_max * EDGES_PER_NODE_MAX} edges are allowed"]
    if errors:
        return errors
    for index, item in enumerate(nodes):
        if not is_object(item):
            errors[f"nodes[{index}]"] = ["must be an object"]
        elif not is_object(item.get("data") or {}):
            errors[f"nodes[{index}].data"] = ["must be an object"]
    for index, item in enumerate(edges):
        if not is_object(item):
            errors[f"edges[{index}]"] = ["must be an object"]
    return errors


def _compile_step(raw: dict[str, Any], path: str, errors: Errors) -> Step | None:
    component = component_of(raw)
    if component is None or component not in CATALOGUE:
        named = "" if component is None else f" '{component[:64]}'"
        where = f"{path}.data.componentId"
        errors[where] = [f"there is no component{named}; known are {', '.join(CATALOGUE)}"]
        return None
    # Editors store what is not set as null.
    given: dict[str, Any] = raw.get("data") or {}
    data = {name: value for name, value in given.items() if value is not None}
    policy, faults = check_fields(NodePolicy, data, f"{path}.data")
    errors |= faults
    if policy is not None and policy.retry is not None and policy.delivery == "at_most_once":
        errors[f"{path}.data.delivery"] = ["'at_most_once' can't be combined with 'retry'"]
    try:
        node = compile_node(raw, path)
    except ConfigError as error:
        for where, what in error.errors.items():
            errors.setdefault(where, []).extend(what)
        return None
    if policy is None:
        return None
    if isinstance(node, TriggerNode) and (policy.continue_on_error or policy.retry):
        errors[f"{path}.data"] = ["a trigger can't fail, so it has no continue_on_error or retry"]
    return Step(str(raw.get("id")), component, node, policy)


def _find_trigger(nodes: Sequence[dict[str, Any]], errors: Errors) -> str:
    triggers = [
        (index, raw)
        for index, raw in enumerate(nodes)
        if issubclass(CATALOGUE.get(component_of(raw) or "", PureNode), TriggerNode)
    ]
    if not triggers:
        errors.setdefault("nodes", []).append("exactly one trigger node is needed, there is none")
        return ""
    for index, _ in triggers[1:]:
        errors.setdefault(f"nodes[{index}]", []).append(
            "exactly one trigger node is allowed, this is another"
        )
    return str(triggers[0][1].get("id"))
