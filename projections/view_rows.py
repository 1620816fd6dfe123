"""The rows of the views, and the statements that read most of them.

Statements name the SQL views (`run`, `log`, `workflow`), which always show the live generation.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from .open_nodes import awaited_at
from .run_state import LogStatus, Status


class RunRow(msgspec.Struct, frozen=True, gc=False):
    """A run as lists show it. Times are microseconds UTC, 0 where it has not happened."""

    run_id: str
    tenant: str
    workflow: str
    workflow_version: int
    status: Status
    origin: str
    original_run: str
    chosen_node: str
    failed_node: str
    created_at: int
    started_at: int
    ended_at: int
    requested_position: int
    started_position: int
    ended_position: int
    payload_at: int
    """The position of the body that holds the trigger payload, another run's if inherited."""
    message_at: int
    """The position of the body with the error message, 0 unless failed."""
    turns: str = ""
    """The positions at which it began or ceased to await people, each after a space."""


AnyRunRow = TypeVar("AnyRunRow", bound=RunRow)


class LogRow(msgspec.Struct, frozen=True, gc=False):
    """One finished node attempt. Times are microseconds UTC."""

    run_id: str
    version: int
    position: int
    tenant: str
    workflow: str
    event_id: str
    node: str
    component: str
    status: LogStatus
    created_at: int
    started_at: int
    attempt: int
    body_at: int
    iteration: str
    """The path of indexes inside iterators, "" outside."""
    source_id: str
    """Of a replayed entry: the id of the event that it was copied from."""


class WorkflowRow(msgspec.Struct, frozen=True, gc=False):
    """A workflow as its newest version says. Times are microseconds UTC."""

    workflow_id: str
    tenant: str
    version: int
    is_active: bool
    is_deleted: bool
    created_at: int
    updated_at: int
    body_at: int
    """The position of the body with the current definition."""
    webhook_hash: str
    """Keyed hash of the webhook token, "" without one."""
    next_at: int
    """When its schedule fires next, 0 where it doesn't."""
    created_position: int


def _columns(struct: type[msgspec.Struct]) -> str:
    return ", ".join(field.name for field in msgspec.structs.fields(struct))


RUN_COLUMNS: Final = _columns(RunRow)
LOG_COLUMNS: Final = _columns(LogRow)
_WORKFLOW_COLUMNS: Final = _columns(WorkflowRow)

# Those that are still there, and those that were deleted later, each found in an index.
EXISTED: Final = (
    "is_deleted = 0 AND created_position <= ?2",
    "is_deleted = 1 AND deleted_position > ?2 AND created_position <= ?2",
)
WORKFLOWS: Final = (
    " UNION ALL ".join(
        f"SELECT {_WORKFLOW_COLUMNS} FROM workflow WHERE tenant = ?1 AND {term}" for term in EXISTED
    )
    + " ORDER BY created_position LIMIT ?3 OFFSET ?4"
)
COUNT_WORKFLOWS: Final = "SELECT " + " + ".join(
    f"(SELECT count(*) FROM workflow WHERE tenant = ?1 AND {term})" for term in EXISTED
)
WEBHOOK: Final = (
    "SELECT workflow_id FROM workflow "
    "WHERE webhook_hash = ? AND webhook_hash != '' AND is_deleted = 0 LIMIT 1"
)
# The patterns that fit are few and known beforehand, so each is one look-up in the index.
EVENT_TRIGGERS: Final = (
    "SELECT workflow_id FROM event_trigger WHERE tenant = ?1 "
    "AND event_type IN (SELECT value FROM json_each(?2)) ORDER BY workflow_id LIMIT ?3"
)
SCHEDULED: Final = "SELECT workflow_id, next_at FROM workflow WHERE next_at != 0"


def run_row(row: Any) -> RunRow:
    """Make a row of a result row."""
    return RunRow(*row)


def workflow_row(row: Any) -> WorkflowRow:
    """Make a row of a result row."""
    made = WorkflowRow(*row)
    return msgspec.structs.replace(
        made, is_active=bool(made.is_active), is_deleted=bool(made.is_deleted)
    )


def as_of(row: AnyRunRow, position: int) -> AnyRunRow:
    """Return the run as it was at a position not before its request."""
    if row.ended_position > position:
        row = msgspec.structs.replace(
            row,
            status="running" if row.started_position else "pending",
            ended_at=0,
            ended_position=0,
            failed_node="",
            message_at=0,
        )
    if row.status in ("running", "awaiting_ui_interaction"):
        awaited = awaited_at(row.turns, position)
        row = msgspec.structs.replace(
            row, status="awaiting_ui_interaction" if awaited else "running"
        )
    if row.started_position > position:
        row = msgspec.structs.replace(row, status="pending", started_at=0, started_position=0)
    return row
