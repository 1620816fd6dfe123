"""What the service asks of log entries: lists, the newest of each workflow, and statistics.

A list is in the order of the times that its entries show, the newest first, and in the order of
the journal where these are equal. A replayed entry has its original's time and stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, get_args

import msgspec

from ..journal.journal import LATEST
from .projection import SqlValue
from .run_counts import count_log, count_tallied
from .run_lists import RunFilter
from .run_state import LogEntry, LogStatus
from .view_rows import EXISTED, LOG_COLUMNS, LogRow
from .views import Views

Place = tuple[int, int]
"""Where a list goes on: the time and the position of the last entry that was shown."""


class ListedLogRow(LogRow, frozen=True, gc=False):
    """A log entry, and the run that a resumed run was made of."""

    original_run: str
    """Where the entry is a replayed one, the run that it was copied from, else ""."""


class LogFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries; None stands for any. Times are microseconds, both ends included."""

    status: str | None = None
    node: str | None = None
    created_from: int | None = None
    created_to: int | None = None
    before: Place | None = None
    """Only what comes after this entry in the list."""
    at_position: int = LATEST
    """Only what had happened then."""
    hidden_until: int = 0
    """Leaves out the runs that had ended by this position."""

    def fits(self, entry: LogEntry) -> bool:
        """Tell whether the list of this filter holds an entry of a folded run."""
        return (
            self.status in (None, entry.status)
            and self.node in (None, entry.node)
            and (self.created_from is None or entry.created_at >= self.created_from)
            and (self.created_to is None or entry.created_at <= self.created_to)
            and (self.before is None or (entry.created_at, entry.position) < self.before)
            and entry.position <= self.at_position
        )


class LogStats(msgspec.Struct, frozen=True):
    """What happened in a workflow since a position. Replayed entries are not counted again."""

    success: int
    error: int
    warning: int
    completed: int
    failed: int
    runs: int
    """The runs that were made since then, those that have not ended among them."""


LISTED: Final = (
    f"{', '.join(f'log.{name}' for name in LOG_COLUMNS.split(', '))}, "
    "CASE log.source_id WHEN '' THEN '' "
    "ELSE (SELECT original_run FROM run WHERE run.run_id = log.run_id) END"
)
# What came later is of a run that had not ended, so that few runs are looked up.
_SHOWN: Final = (
    "({0}position > {1} OR (SELECT run.ended_position = 0 OR run.ended_position > {1} "
    "FROM run WHERE run.run_id = {0}run_id))"
)
# The newest entry of each workflow that existed at position ?2, as of then; ?4 hides as a filter.
NEWEST_LOGS: Final = (
    " UNION ALL ".join(
        f"SELECT {LISTED} FROM workflow CROSS JOIN log ON log.position = ("
        "SELECT position FROM log AS own WHERE own.workflow = workflow.workflow_id "
        f"AND own.source_id = '' AND own.position <= ?2 AND {_SHOWN.format('own.', '?4')} "
        "ORDER BY own.created_at DESC, own.position DESC LIMIT 1) "
        f"WHERE workflow.tenant = ?1 AND {term}"
        for term in EXISTED
    )
    + " ORDER BY log.created_at DESC, log.position DESC LIMIT ?3"
)


def select_logs(workflow: str, wanted: LogFilter, limit: int) -> tuple[str, list[SqlValue]]:
    """Return the statement that lists a workflow's entries, newest first."""
    terms = ["workflow = ?", "position <= ?"]
    parameters: list[SqlValue] = [workflow, wanted.at_position]
    if wanted.status not in (None, "success"):
        terms.append("status != 'success'")
    until, before = wanted.created_to, wanted.before
    # Of two upper bounds the lower one says all, and the planner misjudges a second.
    if before is not None and until is not None:
        until, before = (None, before) if before[0] <= until else (until, None)
    for term, value in (
        ("status = ?", wanted.status),
        ("node = ?", wanted.node),
        ("created_at >= ?", wanted.created_from),
        ("created_at <= ?", until),
    ):
        if value is not None:
            terms.append(term)
            parameters.append(value)
    if wanted.hidden_until:
        terms.append(_SHOWN.format("log.", "?"))
        parameters += [wanted.hidden_until] * 2
    if before is not None:
        terms.append("(created_at, position) < (?, ?)")
        parameters.extend(before)
    return (
        f"SELECT {LISTED} FROM log WHERE {' AND '.join(terms)} "
        "ORDER BY created_at DESC, position DESC LIMIT ?",
        [*parameters, limit],
    )


async def list_logs(
    views: Views, workflow: str, wanted: LogFilter, limit: int
) -> list[ListedLogRow]:
    """List a workflow's entries, newest first; a workflow belongs to one tenant."""
    rows = await views.select(*select_logs(workflow, wanted, limit))
    return [ListedLogRow(*row) for row in rows]


async def newest_logs(
    views: Views, tenant: str, limit: int, at_position: int, hidden_until: int = 0
) -> list[ListedLogRow]:
    """List the newest entry of each workflow that a tenant had at a position, newest first.

    Runs that had ended by `hidden_until` are left out.
    """
    rows = await views.select(NEWEST_LOGS, (tenant, at_position, limit, hidden_until))
    return [ListedLogRow(*row) for row in rows]


def select_stats(
    tenant: str, workflow: str, first: int, at_position: int
) -> tuple[str, list[SqlValue]]:
    """Return the statement of `log_stats`."""
    of_runs = RunFilter(tenant=tenant, workflow=workflow, at_position=at_position)
    counts = [
        *(count_log(workflow, status, first, at_position) for status in get_args(LogStatus)),
        *(
            count_tallied(msgspec.structs.replace(of_runs, status=status), first, at_position)
            for status in ("completed", "failed", None)
        ),
    ]
    return (
        f"SELECT {', '.join(f'({text})' for text, _ in counts)}",
        [value for _, values in counts for value in values],
    )


async def log_stats(
    views: Views, tenant: str, workflow: str, first: int, at_position: int
) -> LogStats:
    """Count what a workflow did from a position on, as it was at another."""
    (row,) = await views.select(*select_stats(tenant, workflow, first, at_position))
    return LogStats(*row)


def list_of_run(log: Sequence[LogEntry], wanted: LogFilter, limit: int) -> list[LogEntry]:
    """List a folded run's entries as `list_logs` would list those of a workflow."""
    found = [entry for entry in log if wanted.fits(entry)]
    found.sort(key=lambda entry: (entry.created_at, entry.position), reverse=True)
    return found[:limit]
