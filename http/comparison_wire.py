"""The published types of how two runs differ."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from .insight_wire import Path
from .wire import Origin, RunId, RunStatus, Time, WorkflowId

Patch = Annotated[
    msgspec.Raw,
    Meta(
        description="A JSON Patch (RFC 6902) that makes the right one of the left one",
        extra_json_schema={
            "type": "array",
            "items": {
                "type": "object",
                "required": ["op", "path"],
                "properties": {
                    "op": {"enum": ["add", "remove", "replace", "move", "copy", "test"]},
                    "path": {"type": "string"},
                    "from": {"type": "string"},
                    "value": {},
                },
            },
        },
    ),
]

BlameReason = Literal["original", "newest_success"]


class ComparedRun(Struct, frozen=True):
    """One side of a comparison."""

    id: RunId
    workflow_id: WorkflowId
    workflow_version: int
    status: RunStatus
    origin: Origin
    created_at: Time
    started_at: Time | None
    completed_at: Time | None
    duration_in_seconds: float | None


class DivergingEvent(Struct, frozen=True):
    """The first event of a run that the other one has not the like of."""

    version: int
    type: str
    node_id: str | None
    iteration: Path | None
    at: Time


class Divergence(Struct, frozen=True):
    """Where two runs went apart; null for a run that has nothing of its own."""

    left: DivergingEvent | None
    right: DivergingEvent | None


class ComparedNode(Struct, frozen=True):
    """What one run says of a node."""

    component_id: str
    status: Literal["success", "error", "warning"] | None
    """Of its newest log entry, null while it has none."""
    attempts: int
    log_id: str | None
    started_at: Time
    """When its first attempt began."""
    completed_at: Time | None
    """When its newest attempt ended, null while it has not."""
    duration_in_seconds: float | None
    """From the one to the other, waits between attempts included."""


class NodeDiff(Struct, frozen=True):
    """A node of either run."""

    node_id: str
    iteration: Path | None
    result: Literal["same", "changed", "unknown", "only_left", "only_right"]
    """`unknown` where an output was erased."""
    left: ComparedNode | None
    right: ComparedNode | None
    output_patch: Patch | None
    """Of a changed node, from the output of the left log entry to that of the right one."""
    output_patch_omitted: Literal["erased", "too_large"] | None
    """Why a changed node that has two outputs has no patch."""


class PayloadDiff(Struct, frozen=True):
    """How the trigger payloads differ."""

    result: Literal["same", "changed", "unknown"]
    """`unknown` where one was erased."""
    patch: Patch | None
    """Null where it is unknown, or would be too large."""


class NodeChange(Struct, frozen=True):
    """A node that is not the same in both definitions."""

    node_id: str
    change: Literal["added", "removed", "changed"]
    patch: Patch | None
    """Of a changed node, its `position` left out; null where it would be too large."""


class EdgeEnds(Struct, frozen=True):
    """What an edge does."""

    source: str
    source_handle: str | None
    """Null for a plain edge."""
    target: str


class EdgeChange(Struct, frozen=True):
    """An edge that is not in both definitions; changed is one that kept its id."""

    change: Literal["added", "removed", "changed"]
    left: EdgeEnds | None
    right: EdgeEnds | None


class DefinitionDiff(Struct, frozen=True):
    """How the definitions differ that the runs are pinned to."""

    result: Literal["same", "changed", "unknown"]
    """`unknown` where one was erased."""
    settings_patch: Patch | None
    """Of name, schedule and whatever else is neither node nor edge."""
    nodes: list[NodeChange]
    edges: list[EdgeChange]


class RunDiff(Struct, frozen=True):
    """How two runs differ."""

    left: ComparedRun
    right: ComparedRun
    first_divergence: Divergence | None
    """Null where the runs tell the same."""
    nodes: list[NodeDiff]
    truncated: bool
    trigger_payload: PayloadDiff
    definition: DefinitionDiff


class Blame(Struct, frozen=True):
    """What is different in a run since its workflow last succeeded."""

    run_id: RunId
    compared_with: RunId | None
    """The run that had succeeded, null where there is none."""
    compared_because: BlameReason | None
    """Whether the run was made of that one, or it is merely the newest that had completed."""
    diff: RunDiff | None
    """With the success as `left` and this run as `right`."""
