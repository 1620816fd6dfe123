"""A workflow definition, read and checked: nodes compiled, policies read, the graph built.

A definition that can't run is refused when it is saved, with one entry for each fault and its
path; so what the runner gets always can.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from .component import (
    ChildNode,
    ConfigError,
    EffectNode,
    FormNode,
    IteratorNode,
    PureNode,
    TriggerNode,
    WaitNode,
    is_list,
    is_object,
)
from .fields import check_fields
from .graph import Errors, Graph, check_edges, check_node_ids, read_edge
from .nodes.catalogue import CATALOGUE, compile_node, component_of
from .policy import NodePolicy

AnyNode = (
    TriggerNode[Any]
    | PureNode[Any]
    | EffectNode[Any]
    | WaitNode[Any]
    | FormNode[Any]
    | ChildNode[Any]
    | IteratorNode[Any]
)
EDGES_PER_NODE_MAX: Final = 20
DEPTH_MAX: Final = 5
"""How deep iterators may be nested."""


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
    owner: str = ""
    """The iterator whose body it belongs to, "" outside of iterators."""
    body: Graph | None = None
    """Of an iterator: what it runs for each item."""


class Definition:
    """A compiled definition."""

    def __init__(self, steps: Mapping[str, Step], graph: Graph, authorization_id: str = "") -> None:
        """`steps` are those of the graph in its order, then those inside iterators."""
        self.steps: Final = steps
        self.graph: Final = graph
        self.authorization_id: Final = authorization_id

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

    @property
    def paths(self) -> dict[str, Step]:
        """Each node by its place in the definition, such as `nodes[1].data.nodes[0]`."""
        found: dict[str, Step] = {}
        graphs = [("", self.graph)]
        for prefix, graph in graphs:
            for index, node in enumerate(graph.nodes):
                path, step = f"{prefix}nodes[{index}]", self.steps[node]
                found[path] = step
                if step.body is not None:
                    graphs.append((f"{path}.data.", step.body))
        return found

    @property
    def workflows_used(self) -> list[str]:
        """The other workflows that its nodes name, each once."""
        named = [
            step.run.workflow_id for step in self.steps.values() if isinstance(step.run, ChildNode)
        ]
        return list(dict.fromkeys(named))

    def graph_of(self, owner: str) -> Graph:
        """Return an iterator's body, or the definition's own graph for ""."""
        if not owner:
            return self.graph
        body = self.steps[owner].body
        assert body is not None, "only an iterator owns nodes"
        return body

    def with_inside(self, nodes: Iterable[str]) -> list[str]:
        """Return the nodes and all those that stand inside of them."""
        found = list(nodes)
        for node in found:
            body = self.steps[node].body
            if body is not None:
                found.extend(body.nodes)
        return found


class _Compiling(msgspec.Struct):
    """What the compilation of a definition and of all its bodies shares."""

    nodes_max: int
    depth_max: int
    steps: dict[str, Step]
    seen: set[str]
    errors: Errors


def compile_definition(
    nodes: Any,
    edges: Any,
    *,
    nodes_max: int,
    depth_max: int = DEPTH_MAX,
    authorization_id: str = "",
) -> Definition:
    """Check and compile a definition.

    `nodes_max` counts those inside iterators too, `depth_max` is how deep these may nest.

    Raises:
        DefinitionError: with every fault that was found.
    """
    job = _Compiling(nodes_max, depth_max, {}, set(), {})
    graph = _compile_graph(job, nodes, edges, "", "", 0)
    if graph is None or job.errors:
        raise DefinitionError(job.errors)
    return Definition(job.steps, graph, authorization_id)


def _compile_graph(
    job: _Compiling, nodes: Any, edges: Any, owner: str, prefix: str, depth: int
) -> Graph | None:
    """Compile one graph and the bodies in it; `prefix` is the path of its place."""
    errors = _check_shape(nodes, edges, job.nodes_max - len(job.seen))
    if errors:
        _add(job.errors, errors, prefix)
        return None
    steps: dict[str, Step] = {}
    handles: dict[str, tuple[str, ...] | None] = {}
    for index, raw in enumerate(nodes):
        step = _compile_step(raw, f"nodes[{index}]", owner, errors)
        if isinstance(raw.get("id"), str):
            handles[raw["id"]] = None if step is None else step.run.handles
        if step is not None:
            steps[step.node] = step
    trigger = "" if owner else _find_trigger(nodes, errors)
    errors |= check_node_ids([raw.get("id") for raw in nodes], trigger, job.seen)
    errors |= check_edges(edges, handles, trigger)
    job.steps |= steps
    bodies = _compile_bodies(job, nodes, steps, prefix, depth)
    _add(job.errors, errors, prefix)
    if errors:
        return None
    job.steps |= bodies
    made = [read_edge(edge, bool(steps[edge["source"]].run.handles)) for edge in edges]
    return Graph(trigger, list(steps), list(dict.fromkeys(made)))


def _compile_bodies(
    job: _Compiling,
    nodes: Sequence[Mapping[str, Any]],
    steps: Mapping[str, Step],
    prefix: str,
    depth: int,
) -> dict[str, Step]:
    """Compile what the iterators of a graph run; returns these iterators with their bodies."""
    made: dict[str, Step] = {}
    for index, raw in enumerate(nodes):
        step = steps.get(str(raw.get("id")))
        if step is None or not isinstance(step.run, IteratorNode):
            continue
        path = f"{prefix}nodes[{index}].data"
        if depth >= job.depth_max:
            job.errors[path] = [f"iterators can be nested {job.depth_max} deep"]
            continue
        run = step.run
        body = _compile_graph(job, run.nodes, run.edges, step.node, f"{path}.", depth + 1)
        if body is not None:
            made[step.node] = msgspec.structs.replace(step, body=body)
    return made


def _add(errors: Errors, more: Errors, prefix: str) -> None:
    for path, faults in more.items():
        errors.setdefault(f"{prefix}{path}", []).extend(faults)


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


def _compile_step(raw: dict[str, Any], path: str, owner: str, errors: Errors) -> Step | None:
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
    if owner and isinstance(node, TriggerNode):
        errors[f"{path}.data.componentId"] = ["a trigger can't stand inside an iterator"]
    if isinstance(node, ChildNode) and policy.retry is not None:
        errors[f"{path}.data.retry"] = ["a step never starts a second run, so it has no 'retry'"]
    if isinstance(node, IteratorNode) and policy.retry is not None:
        errors[f"{path}.data.retry"] = ["belongs to the nodes inside an iterator"]
    return Step(str(raw.get("id")), component, node, policy, owner)


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
