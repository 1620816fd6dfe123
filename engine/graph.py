"""The graph of a definition: nodes, edges, and which edges an outcome takes.

Pure structure: what a node does is not known here, only the handles it can leave by.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

PLAIN: Final = ""
"""The handle of a plain edge; `null`, "" and `default` in a definition mean the same."""
ERROR: Final = "error"
"""The handle that a tolerated failure leaves by."""
RESERVED_IDS: Final = frozenset(
    {"index", "item", "payload", "webhook_payload", "vault", "run", "trigger"}
)
"""Context roots, which a node's output must not hide (`trigger` may name the trigger itself)."""
_NODE_ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,63}")

Errors = dict[str, list[str]]


class Edge(msgspec.Struct, frozen=True, gc=False):
    """A way from one node to another."""

    source: str
    target: str
    handle: str


class Graph:
    """The nodes and edges of a definition or of an iterator's body, without cycles."""

    def __init__(self, trigger: str, nodes: Sequence[str], edges: Sequence[Edge]) -> None:
        """Take parts that `check_edges` found faultless; a body has no trigger ("")."""
        self.trigger: Final = trigger
        self.nodes: Final = tuple(nodes)
        outgoing: defaultdict[str, list[Edge]] = defaultdict(list)
        incoming: defaultdict[str, list[Edge]] = defaultdict(list)
        for edge in edges:
            outgoing[edge.source].append(edge)
            incoming[edge.target].append(edge)
        self.outgoing: Final[Mapping[str, Sequence[Edge]]] = {n: outgoing[n] for n in nodes}
        self.incoming: Final[Mapping[str, Sequence[Edge]]] = {n: incoming[n] for n in nodes}
        self.starts: Final = (
            (trigger,) if trigger else tuple(node for node in nodes if not incoming[node])
        )
        """The nodes that run first: the trigger, or all of a body that no edge leads to."""
        self._upstream: dict[str, tuple[str, ...]] = {}

    def downstream(self, starts: Iterable[str]) -> set[str]:
        """Return every node that an edge path leads to from one of `starts`."""
        found: set[str] = set()
        waiting = deque(starts)
        while waiting:
            for edge in self.outgoing.get(waiting.popleft(), ()):
                if edge.target not in found:
                    found.add(edge.target)
                    waiting.append(edge.target)
        return found

    def upstream(self, node: str) -> tuple[str, ...]:
        """Return every node that an edge path leads from to this one: whose outputs it sees.

        A template sees nothing else, because whether a node of another branch has run by then is
        a matter of speed, and a run must come out the same when it is recovered or resumed.
        """
        known = self._upstream.get(node)
        if known is None:
            found: set[str] = set()
            waiting = deque([node])
            while waiting:
                for edge in self.incoming[waiting.popleft()]:
                    if edge.source not in found:
                        found.add(edge.source)
                        waiting.append(edge.source)
            known = self._upstream[node] = tuple(n for n in self.nodes if n in found)
        return known

    def departure(self, node: str, handle: str, *, tolerated: bool) -> str:
        """Return the handle whose edges a settled node takes; its other edges are dead.

        A success leaves by its handle, or by the plain edges if it has none; a tolerated failure
        by the error edges if there are any, else by the plain ones.
        """
        if not tolerated:
            return handle
        has_error_edge = any(edge.handle == ERROR for edge in self.outgoing[node])
        return ERROR if has_error_edge else PLAIN


def read_edge(raw: Mapping[str, Any], leaves_by_handle: bool) -> Edge:
    """Make an edge of its definition. `default` is a handle only of a node that has handles."""
    handle = raw.get("sourceHandle") or PLAIN
    if handle == "default" and not leaves_by_handle:
        handle = PLAIN
    return Edge(raw["source"], raw["target"], handle)


def check_node_ids(ids: Sequence[Any], trigger: Any, seen: set[str]) -> Errors:
    """Say which node ids can't be used, by their path in the definition.

    `seen` holds the ids of the whole definition so far, bodies included, and learns these.
    """
    errors: Errors = {}
    for index, node in enumerate(ids):
        path = f"nodes[{index}].id"
        if not isinstance(node, str) or not _NODE_ID.fullmatch(node):
            errors[path] = [
                "must be 1 to 64 letters, digits, '_', '-' or '.', not beginning with '-' or '.'"
            ]
        elif node in seen:
            errors[path] = [f"'{node}' names another node already"]
        elif node in RESERVED_IDS and not (node == "trigger" and node == trigger):
            errors[path] = [f"'{node}' is a root of the template context; choose another id"]
        if isinstance(node, str):
            seen.add(node)
    return errors


def check_edges(
    raw: Sequence[Mapping[str, Any]], handles: Mapping[str, tuple[str, ...] | None], trigger: str
) -> Errors:
    """Say what is wrong with the edges, by path.

    `handles` holds every node: its handles, an empty tuple for a node that leaves by plain edges,
    None for one whose configuration is faulty, of which nothing more is said here.
    """
    errors: Errors = {}
    for index, edge in enumerate(raw):
        path = f"edges[{index}]"
        source, target = edge.get("source"), edge.get("target")
        for end, node in (("source", source), ("target", target)):
            if not isinstance(node, str):
                errors[f"{path}.{end}"] = ["must be the id of a node"]
            elif node not in handles:
                errors[f"{path}.{end}"] = [f"there is no node '{node[:64]}'"]
        if isinstance(target, str) and target == trigger:
            errors[f"{path}.target"] = ["a trigger can't have incoming edges"]
        handle = edge.get("sourceHandle")
        if handle is not None and not isinstance(handle, str):
            errors[f"{path}.sourceHandle"] = ["must be a string or null"]
        elif isinstance(source, str) and source in handles:
            fault = _handle_fault(source, handle or PLAIN, handles[source])
            if fault:
                errors[f"{path}.sourceHandle"] = [fault]
    if not errors:
        for node in _on_cycles(handles, raw):
            errors.setdefault("edges", []).append(f"node '{node}' is part of a cycle")
    return errors


def _handle_fault(source: str, handle: str, handles: tuple[str, ...] | None) -> str:
    if handles is None or handle == ERROR:
        return ""
    if handles:
        if handle in handles:
            return ""
        wanted = ", ".join(repr(h) for h in handles)
        if handle in (PLAIN, "default"):
            return f"node '{source}' leaves by a handle: one of {wanted}"
        return f"node '{source}' has no handle '{handle[:64]}'; it has {wanted}"
    if handle in (PLAIN, "default"):
        return ""
    return f"node '{source}' has no handles, so its edges are plain"


def _on_cycles(nodes: Iterable[str], edges: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the nodes that are on a cycle, by taking away sources, then sinks (Kahn)."""
    left = set(nodes)
    for end, other in (("target", "source"), ("source", "target")):
        count: defaultdict[str, int] = defaultdict(int)
        following: defaultdict[str, list[str]] = defaultdict(list)
        for edge in edges:
            if edge["source"] in left and edge["target"] in left:
                count[edge[end]] += 1
                following[edge[other]].append(edge[end])
        free = deque(node for node in left if count[node] == 0)
        while free:
            node = free.popleft()
            left.discard(node)
            for after in following[node]:
                count[after] -= 1
                if count[after] == 0:
                    free.append(after)
    return sorted(left)
