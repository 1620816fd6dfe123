"""Draws a comparison of two runs as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from rich.console import Console

from ..http import comparison_wire as wire
from .tables import console, plain_table

NODES_MAX: Final = 100
"""How many nodes are shown; `--json` has more."""
OPERATIONS_MAX: Final = 100
"""How many operations of patches are shown."""
VALUE_CHARACTERS_MAX: Final = 200
"""How much of a value in a patch is shown."""
_STYLES: Final = {
    "same": "dim",
    "unknown": "magenta",
    "changed": "yellow",
    "replace": "yellow",
    "only_left": "red",
    "removed": "red",
    "remove": "red",
    "only_right": "green",
    "added": "green",
    "add": "green",
}


def print_diff(found: wire.RunDiff) -> None:
    """Print a comparison: of few nodes all, of many those that differ."""
    out = console()
    out.print(plain_table("Runs", ("", "left", "right"), _run_rows(found), _style_of_run))
    apart = found.first_divergence
    if apart is None:
        out.print("The runs tell the same: no event differs.\n", style="green")
    else:
        places = [("left", _event(apart.left)), ("right", _event(apart.right))]
        out.print(plain_table("First divergence", ("", "event"), places))
    _print_nodes(out, found)
    edges = [_edge_row(edge) for edge in found.definition.edges]
    parts = [("node", node.change, node.node_id) for node in found.definition.nodes]
    if parts or edges:
        names = ("part", "change", "which")
        out.print(plain_table("Definition", names, [*parts, *edges], _style))
    changes = list(_changes(found))
    if changes:
        shown = changes[:OPERATIONS_MAX]
        out.print(plain_table("Changes", ("of", "operation", "path", "value"), shown, _style))
    if len(changes) > OPERATIONS_MAX:
        out.print(f"{len(changes) - OPERATIONS_MAX} changes more: --json has them.")


def _print_nodes(out: Console, found: wire.RunDiff) -> None:
    differing = [node for node in found.nodes if node.result != "same"]
    shown = found.nodes if len(found.nodes) <= NODES_MAX else differing[:NODES_MAX]
    if shown:
        rows = [_node_row(node) for node in shown]
        out.print(plain_table("Nodes", ("node", "result", "left", "right"), rows, _style))
    if found.truncated or len(shown) < len(found.nodes):
        more = "more than " if found.truncated else ""
        counts = f"{len(differing)} differ, {len(shown)} of them are shown"
        out.print(f"Of {more}{len(found.nodes)} nodes {counts}.\n")


def _run_rows(found: wire.RunDiff) -> list[Sequence[str]]:
    sides = found.left, found.right
    rows: list[Sequence[str]] = [
        ("run", *(side.id for side in sides)),
        ("workflow", *(side.workflow_id for side in sides)),
        ("version", *(str(side.workflow_version) for side in sides)),
        ("status", *(side.status for side in sides)),
        ("origin", *(side.origin for side in sides)),
        ("created", *(side.created_at for side in sides)),
        ("took", *(_seconds(side.duration_in_seconds) for side in sides)),
    ]
    for name, result in (
        ("payload", found.trigger_payload.result),
        ("definition", found.definition.result),
    ):
        rows.append((name, result, ""))
    return rows


def _style_of_run(row: Sequence[str]) -> str:
    if row[0] in ("payload", "definition"):
        return _STYLES.get(row[1], "")
    return "yellow" if row[0] == "status" and row[1] != row[2] else ""


def _style(row: Sequence[str]) -> str:
    return _STYLES.get(row[1], "")


def _event(event: wire.DivergingEvent | None) -> str:
    if event is None:
        return "nothing that the other one has not"
    node = f" {_place(event.node_id, event.iteration)}" if event.node_id else ""
    return f"v{event.version} {event.type}{node} at {event.at}"


def _node_row(node: wire.NodeDiff) -> tuple[str, str, str, str]:
    return (
        _place(node.node_id, node.iteration),
        node.result,
        _side(node.left),
        _side(node.right),
    )


def _side(side: wire.ComparedNode | None) -> str:
    if side is None:
        return ""
    tries = f", {side.attempts} attempts" if side.attempts > 1 else ""
    return f"{side.status or 'open'}{tries}, {_seconds(side.duration_in_seconds)}"


def _edge_row(edge: wire.EdgeChange) -> tuple[str, str, str]:
    ends = [_ends(end) for end in (edge.left, edge.right) if end is not None]
    return "edge", edge.change, ", now ".join(ends)


def _ends(ends: wire.EdgeEnds) -> str:
    by = f" ({ends.source_handle})" if ends.source_handle else ""
    return f"{ends.source}{by} -> {ends.target}"


def _changes(found: wire.RunDiff) -> Iterator[tuple[str, str, str, str]]:
    yield from _operations("payload", found.trigger_payload.patch)
    yield from _operations("settings", found.definition.settings_patch)
    for change in found.definition.nodes:
        yield from _operations(f"definition of {change.node_id}", change.patch)
    for node in found.nodes:
        place = f"output of {_place(node.node_id, node.iteration)}"
        yield from _operations(place, node.output_patch)
        if node.output_patch_omitted:
            yield place, f"({node.output_patch_omitted.replace('_', ' ')})", "", ""


def _operations(of: str, patch: msgspec.Raw | None) -> Iterator[tuple[str, str, str, str]]:
    operations: list[dict[str, Any]] = msgspec.json.decode(patch) if patch is not None else []
    for one in operations:
        value = msgspec.json.encode(one["value"]).decode() if "value" in one else ""
        if "from" in one:
            value = f"from {one['from']}"
        if len(value) > VALUE_CHARACTERS_MAX:
            value = value[:VALUE_CHARACTERS_MAX] + "…"
        yield of, one["op"], one["path"] or "(all of it)", value


def _place(node: str | None, iteration: list[int] | None) -> str:
    return f"{node} {iteration}" if iteration else str(node)


def _seconds(seconds: float | None) -> str:
    return "not ended" if seconds is None else f"{seconds:.3f} s"
