"""How a comparison of two runs is shown: the published form of what `run_comparison` found."""

from __future__ import annotations

from typing import cast

from msgspec import Raw

from ..journal import ids
from ..journal.envelope import Recorded
from ..projections import definition_diff, run_comparison, run_diff
from ..projections.run_state import RunState
from . import comparison_wire as out
from . import rendering, wire
from .times import to_wire, to_wire_or_none


def run_diff_of(found: run_comparison.Comparison) -> out.RunDiff:
    """Show a comparison."""
    diff = found.diff
    apart = None
    if diff.left or diff.right:
        apart = out.Divergence(_event(diff.left), _event(diff.right))
    return out.RunDiff(
        _run(found.left.state),
        _run(found.right.state),
        apart,
        [_node(node) for node in found.nodes],
        found.is_truncated,
        out.PayloadDiff(found.payload.result, _patch(found.payload.patch)),
        _definition(found.definition),
    )


def _run(state: RunState) -> out.ComparedRun:
    origin = state.origin
    return out.ComparedRun(
        state.run_id,
        origin.workflow,
        origin.workflow_version,
        state.status,
        cast("wire.Origin", origin.origin),
        to_wire(state.created_at),
        to_wire_or_none(state.started_at),
        to_wire_or_none(state.ended_at),
        rendering.duration(state.started_at, state.ended_at),
    )


def _event(event: Recorded | None) -> out.DivergingEvent | None:
    if event is None:
        return None
    facts = event.facts
    return out.DivergingEvent(
        event.version,
        facts.type,
        getattr(facts, "node", "") or None,
        rendering.iteration(getattr(facts, "iteration", "")),
        to_wire(event.at),
    )


def _node(found: run_comparison.NodeComparison) -> out.NodeDiff:
    node = found.node
    iteration, name = node.place
    return out.NodeDiff(
        name,
        rendering.iteration(iteration),
        node.result,
        _side(node.left),
        _side(node.right),
        _patch(found.patch),
        found.omitted or None,
    )


def _side(side: run_diff.Side | None) -> out.ComparedNode | None:
    if side is None:
        return None
    return out.ComparedNode(
        side.component,
        side.status,
        side.attempts,
        ids.LOG + side.outcome.id if side.outcome else None,
        to_wire(side.started_at),
        to_wire_or_none(side.ended_at),
        rendering.duration(side.started_at, side.ended_at),
    )


def _definition(found: definition_diff.DefinitionDiff) -> out.DefinitionDiff:
    return out.DefinitionDiff(
        found.result,
        _patch(found.settings),
        [out.NodeChange(one.node, one.change, _patch(one.patch)) for one in found.nodes],
        [out.EdgeChange(one.change, _ends(one.left), _ends(one.right)) for one in found.edges],
    )


def _ends(ends: definition_diff.EdgeEnds | None) -> out.EdgeEnds | None:
    return None if ends is None else out.EdgeEnds(ends.source, ends.handle or None, ends.target)


def _patch(patch: bytes | None) -> Raw | None:
    return None if patch is None else Raw(patch)
