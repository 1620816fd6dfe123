"""The rows of the views, and the statements that read them.

Statements name the SQL views (`run`, `log`, `workflow`), which always show the live generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from ..journal.journal import LATEST
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
    at_position: int = LATEST
    """The runs there were then, by the status that they then had."""


# Times never decrease along positions, so a range of time is a range of positions, and one shape
# of statement serves every filter.
_FIRST_FROM: Final = (
    "coalesce((SELECT requested_position FROM run WHERE created_at >= ? "
    f"ORDER BY created_at, requested_position LIMIT 1), {LATEST})"
)
_FIRST_AFTER: Final = _FIRST_FROM.replace(">=", ">")


def _columns(struct: type[msgspec.Struct]) -> str:
    return ", ".join(field.name for field in msgspec.structs.fields(struct))


_RUN_COLUMNS: Final = _columns(RunRow)
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
# A workflow belongs to one tenant; naming it lets the index deliver the order.
NEWEST_RUNS: Final = (
    f"SELECT {_RUN_COLUMNS} FROM run WHERE workflow = ?1 "
    "AND tenant = (SELECT tenant FROM run WHERE workflow = ?1 LIMIT 1) "
    "AND requested_position <= ?2 ORDER BY requested_position DESC LIMIT ?3"
)


_UNFINISHED: Final = ("pending", "running", "awaiting_ui_interaction")
# What `as_of` makes of a row's status, by SQL; the position comes in three times.
_STATUS_AT: Final = """CASE
  WHEN ended_position BETWEEN 1 AND ? THEN status
  WHEN started_position NOT BETWEEN 1 AND ? THEN 'pending'
  WHEN (SELECT count(*) FROM json_each('[' || replace(trim(turns), ' ', ',') || ']')
    WHERE value <= ?) % 2 = 1 THEN 'awaiting_ui_interaction'
  ELSE 'running' END"""
_Term: TypeAlias = tuple[str, Sequence[SqlValue]]


def select_runs(wanted: RunFilter, offset: int, limit: int) -> tuple[str, list[SqlValue]]:
    """Return the statement that lists runs, newest first."""
    parts = _parts(wanted)
    text = " UNION ALL ".join(f"SELECT {_RUN_COLUMNS} FROM run WHERE {where}" for where, _ in parts)
    return (
        f"{text} ORDER BY requested_position DESC LIMIT ? OFFSET ?",
        [*(value for _, values in parts for value in values), limit, offset],
    )


def count_runs(wanted: RunFilter) -> tuple[str, list[SqlValue]]:
    """Return the statement that counts runs."""
    parts = _parts(wanted)
    counts = [f"(SELECT count(*) FROM run WHERE {where})" for where, _ in parts]
    text = counts[0][1:-1] if len(counts) == 1 else f"SELECT {' + '.join(counts)}"
    return text, [value for _, values in parts for value in values]


def _parts(wanted: RunFilter) -> list[tuple[str, list[SqlValue]]]:
    """Return the conditions and their parameters of the parts that the runs are found in.

    SQLite has no statistics here, so a plus sign keeps it from any index but the most selective.
    """
    at, status = wanted.at_position, wanted.status
    is_rerun = wanted.original_run is not None
    last = at if wanted.before is None else min(at, wanted.before - 1)
    terms: list[_Term] = [
        ("workflow = ?", [wanted.workflow]),
        ("requested_position <= ?", [last]),
    ]
    if is_rerun:
        # The partial index is used only where its own condition is written out.
        terms.append(("original_run != '' AND original_run = ?", [wanted.original_run]))
    if wanted.origin is not None:
        is_narrowed = is_rerun or status is not None
        terms.append(("+origin = ?" if is_narrowed else "origin = ?", [wanted.origin]))
    if wanted.created_from is not None:
        terms.append((f"requested_position >= {_FIRST_FROM}", [wanted.created_from]))
    if wanted.created_to is not None:
        terms.append((f"requested_position < {_FIRST_AFTER}", [wanted.created_to]))
    own: _Term = ("tenant = ?", [wanted.tenant])
    if status is None:
        return [_joined([*terms, own])]
    if is_rerun:
        return [_joined([*terms, own, (f"{_STATUS_AT} = ?", [at, at, at, status])])]
    return [_joined([*terms, *more]) for more in _had_status(status, at, wanted.tenant)]


def _had_status(status: str, at: int, tenant: str) -> list[list[_Term]]:
    """Return where the runs are found that had a status: mostly, where those are that have it.

    One part a status, since in each of them the index delivers the order.
    """
    own: _Term = ("tenant = ?", [tenant])
    has: list[_Term] = [own, ("status = ?", [status]), ("changed_position <= ?", [at])]
    if status not in _UNFINISHED:
        # No run leaves such a status.
        return [has]
    had: _Term = (f"{_STATUS_AT} = ?", [at, at, at, status])
    changed: list[list[_Term]] = [
        [own, ("status = ?", [one]), ("changed_position > ?", [at]), had] for one in _UNFINISHED
    ]
    ended: _Term = ("ended_position != 0 AND ended_position > ?", [at])
    return [has, *changed, [("+tenant = ?", [tenant]), ended, had]]


def _joined(terms: Sequence[_Term]) -> tuple[str, list[SqlValue]]:
    where = " AND ".join(term for term, _ in terms)
    return where, [value for _, values in terms for value in values]


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
