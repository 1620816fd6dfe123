"""The published types of what one reads about runs: logs, statistics and lineage."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from .wire import Log, Origin, RunId, RunStatus, Time, Workflow, WorkflowId

Path = Annotated[
    list[int], Meta(description="The indexes of the items inside iterators, the outermost first")
]


class RecentLog(Log, frozen=True):
    """The newest log entry of a workflow."""

    workflow: Workflow


class LogStatuses(Struct, frozen=True):
    """How many attempts of nodes ended how."""

    success: int
    error: int
    warning: int


class RecentRuns(Struct, frozen=True):
    """How many runs ended how."""

    completed: int
    failed: int


class LogStats(Struct, frozen=True):
    """What a workflow did in the last 30 days."""

    log_statuses: LogStatuses
    recent_runs: RecentRuns
    total_runs: int
    """The runs that were made in this time, those that have not ended among them."""
    success_rate: float
    """The percentage of ended runs that completed, 0 where none has ended."""


class ParentNode(Struct, frozen=True):
    """What started a run as a sub-workflow."""

    run_id: RunId
    node_id: str
    iteration: Path | None


class SubRun(Struct, frozen=True):
    """A run of another workflow that a run started."""

    id: RunId
    workflow_id: WorkflowId
    node_id: str
    """The node that started it."""
    iteration: Path | None
    status: RunStatus
    created_at: Time
    completed_at: Time | None


class LineageRun(Struct, frozen=True, kw_only=True):
    """A run as a part of its tree."""

    id: RunId
    workflow_version: int
    status: RunStatus
    origin: Origin
    original_run_id: RunId | None
    resumed_from_node_id: str | None
    failed_node_id: str | None
    created_at: Time
    started_at: Time | None
    completed_at: Time | None
    duration_in_seconds: float | None
    children: list[RunId]
    """The reruns and resumes that were made of it, oldest first."""
    parent: ParentNode | None
    sub_runs: list[SubRun]


class Lineage(Struct, frozen=True):
    """The tree of reruns and resumes that a run belongs to."""

    run_id: RunId
    workflow_id: WorkflowId
    root_run_id: RunId
    succeeded: bool
    """Whether any run of the tree completed."""
    succeeded_run_id: RunId | None
    """The one that did, the newest if there are several."""
    runs: list[LineageRun]
    """Oldest first: the root, and each run after the one that it was made of."""
    truncated: bool
