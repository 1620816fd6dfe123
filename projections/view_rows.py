"""The rows of the views, and the statements that read them.

Statements name the SQL views (`run`, `log`, `workflow`), which always show the live generation.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from .open_nodes import awaited_at
from .projection import SqlValue
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


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs of a workflow; None stands for any."""

    tenant: str
    workflow: str
    status: str | None = None
    created_from: int | None = None
    """The earliest creation, in microseconds."""
    created_to: int | None = None
    """The latest creation, in microseconds."""
    origin: str | None = None
    original_run: str | None = None
    before: int | None = None
    """Only requests before this position."""


_NEVER: Final = 2**63 - 1
# Times never decrease along positions, so a range of time is a range of positions, and one shape
# of statement serves every filter.
_FIRST_FROM: Final = (
    "coalesce((SELECT requested_position FROM run WHERE created_at >= ? "
    f"ORDER BY created_at, requested_position LIMIT 1), {_NEVER})"
)
_FIRST_AFTER: Final = _FIRST_FROM.replace(">=", ">")


def _columns(struct: type[msgspec.Struct]) -> str:
    return ", ".join(field.name for field in msgspec.structs.fields(struct))


_RUN_COLUMNS: Final = _columns(RunRow)
LOG_COLUMNS: Final = _columns(LogRow)
_WORKFLOW_COLUMNS: Final = _columns(WorkflowRow)

_NOT_DELETED: Final = "FROM workflow WHERE tenant = ? AND is_deleted = 0"
WORKFLOWS: Final = (
    f"SELECT {_WORKFLOW_COLUMNS} {_NOT_DELETED} ORDER BY created_position LIMIT ? OFFSET ?"
)
COUNT_WORKFLOWS: Final = f"SELECT count(*) {_NOT_DELETED}"
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
# A workflow belongs to one tenant; naming it lets the index deliver the order.
NEWEST_RUNS: Final = (
    f"SELECT {_RUN_COLUMNS} FROM run WHERE workflow = ?1 "
    "AND tenant = (SELECT tenant FROM run WHERE workflow = ?1 LIMIT 1) "
    "AND requested_position <= ?2 ORDER BY requested_position DESC LIMIT ?3"
)


def select_runs(wanted: RunFilter, offset: int, limit: int) -> tuple[str, list[SqlValue]]:
    """Return the statement that lists runs, newest first."""
    where, parameters = _where(wanted)
    return (
        f"SELECT {_RUN_COLUMNS} FROM run WHERE {where} "
        "ORDER BY requested_position DESC LIMIT ? OFFSET ?",
        [*parameters, limit, offset],
    )


def count_runs(wanted: RunFilter) -> tuple[str, list[SqlValue]]:
    """Return the statement that counts runs."""
    where, parameters = _where(wanted)
    return f"SELECT count(*) FROM run WHERE {where}", parameters


def _where(wanted: RunFilter) -> tuple[str, list[SqlValue]]:
    """Return the condition and its parameters.

    SQLite has no statistics here, so a plus sign keeps it from any index but the most selective.
    """
    terms = ["workflow = ?", "tenant = ?"]
    parameters: list[SqlValue] = [wanted.workflow, wanted.tenant]

    def add(term: str, value: SqlValue) -> None:
        if value is not None:
            terms.append(term)
            parameters.append(value)

    is_rerun = wanted.original_run is not None
    if is_rerun:
        # The partial index is used only where its own condition is written out.
        terms.append("original_run != ''")
    add("original_run = ?", wanted.original_run)
    add("+status = ?" if is_rerun else "status = ?", wanted.status)
    add("+origin = ?" if is_rerun or wanted.status is not None else "origin = ?", wanted.origin)
    add(f"requested_position >= {_FIRST_FROM}", wanted.created_from)
    add(f"requested_position < {_FIRST_AFTER}", wanted.created_to)
    add("requested_position < ?", wanted.before)
    return " AND ".join(terms), parameters


def run_row(row: Any) -> RunRow:
    """Make a row of a result row."""
    return RunRow(*row)


def workflow_row(row: Any) -> WorkflowRow:
    """Make a row of a result row."""
    made = WorkflowRow(*row)
    return msgspec.structs.replace(
        made, is_active=bool(made.is_active), is_deleted=bool(made.is_deleted)
    )


def as_of(row: RunRow, position: int) -> RunRow:
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
