"""How two versions of workflows differ: nodes, edges, and what else a definition says.

Rules of the comparison:

1. A node is known by its id. Where it stands on a canvas (`position`) is no part of what it does.
   The nodes inside an iterator are a part of its node.
2. An edge is known by what it does: source, handle and target. One that has another end under
   the id that it had was changed; else it was removed and another one added.
3. The order of nodes and edges is not compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from .json_patches import NO_CHANGE, Patcher

Change = Literal["added", "removed", "changed"]

_UNSEEN: Final = "position"
_canonical: Final = msgspec.json.Encoder(order="sorted").encode


class _Definition(msgspec.Struct, frozen=True):
    """The body of `workflow.defined`, as far as it is compared."""

    workflow: dict[str, Any]


_decode: Final = msgspec.json.Decoder(_Definition).decode


class NodeChange(msgspec.Struct, frozen=True):
    """A node that is not the same in both definitions."""

    node: str
    change: Change
    patch: bytes | None
    """Of a changed node: from the left one to the right one, None if there is no room for it."""


class EdgeEnds(msgspec.Struct, frozen=True, order=True):
    """What an edge does; a plain one has the handle ""."""

    source: str
    target: str
    handle: str


class EdgeChange(msgspec.Struct, frozen=True):
    """An edge that is not in both definitions."""

    change: Change
    left: EdgeEnds | None
    right: EdgeEnds | None


class DefinitionDiff(msgspec.Struct, frozen=True):
    """How two definitions differ."""

    result: Literal["same", "changed", "unknown"]
    """`unknown` where one of them was erased."""
    settings: bytes | None = NO_CHANGE
    """The patch between all that is neither node nor edge, None if there is no room for it."""
    nodes: Sequence[NodeChange] = ()
    edges: Sequence[EdgeChange] = ()


SAME: Final = DefinitionDiff("same")
UNKNOWN: Final = DefinitionDiff("unknown", settings=None)


def compare_definitions(left: bytes, right: bytes, patcher: Patcher) -> DefinitionDiff:
    """Compare the bodies of two `workflow.defined`."""
    if left == right:
        return SAME
    a, b = _decode(left).workflow, _decode(right).workflow
    settings = patcher.between(_rest(a), _rest(b))
    nodes = _node_changes(_nodes(a), _nodes(b), patcher)
    edges = _edge_changes(_edges(a), _edges(b))
    if settings == NO_CHANGE and not nodes and not edges:
        return SAME
    return DefinitionDiff("changed", settings, nodes, edges)


def _rest(workflow: Mapping[str, Any]) -> bytes:
    return _canonical({k: v for k, v in workflow.items() if k not in ("nodes", "edges")})


def _nodes(workflow: Mapping[str, Any]) -> dict[str, bytes]:
    return {
        str(node["id"]): _canonical({k: v for k, v in node.items() if k != _UNSEEN})
        for node in workflow["nodes"]
    }


def _node_changes(
    left: Mapping[str, bytes], right: Mapping[str, bytes], patcher: Patcher
) -> list[NodeChange]:
    made: list[NodeChange] = []
    for node in dict.fromkeys([*left, *right]):
        if node not in right:
            made.append(NodeChange(node, "removed", None))
        elif node not in left:
            made.append(NodeChange(node, "added", None))
        elif left[node] != right[node]:
            patch = patcher.between(left[node], right[node])
            made.append(NodeChange(node, "changed", patch))
    return made


def _edges(workflow: Mapping[str, Any]) -> dict[EdgeEnds, str]:
    """Return what the edges do, and the id of each, "" for one without."""
    # Of a node with handles `default` is one; its edge is read as a plain one on either side.
    return {
        EdgeEnds(
            edge["source"],
            edge["target"],
            "" if (handle := edge.get("sourceHandle") or "") == "default" else handle,
        ): str(edge.get("id") or "")
        for edge in workflow["edges"]
    }


def _edge_changes(left: Mapping[EdgeEnds, str], right: Mapping[EdgeEnds, str]) -> list[EdgeChange]:
    gone = {ends: id_ for ends, id_ in left.items() if ends not in right}
    new = {ends: id_ for ends, id_ in right.items() if ends not in left}
    by_id = {id_: ends for ends, id_ in new.items() if id_}
    made: list[EdgeChange] = []
    for ends, id_ in gone.items():
        other = by_id.pop(id_, None)
        if other is None:
            made.append(EdgeChange("removed", ends, None))
        else:
            made.append(EdgeChange("changed", ends, other))
            del new[other]
    made.extend(EdgeChange("added", None, ends) for ends in new)
    return made
