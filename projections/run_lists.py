"""Lists of a workflow's runs, newest first: by any filter, as of any position, from any place.

Every filter and combination is one range of an index that delivers the order, or a few of them,
so that the newest runs of a million cost what they cost of a thousand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from ..journal.journal import LATEST
from .projection import SqlValue
from .view_rows import RUN_COLUMNS, RunRow, as_of, run_row
from .views import Views


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs of a workflow; None stands for any. Times are microseconds, ends included."""

    tenant: str
    workflow: str
    status: str | None = None
    created_from: int | None = None
    created_to: int | None = None
    origin: str | None = None
    original_run: str | None = None
    error_code: str | None = None
    """Only runs that failed with this code."""
    is_unresolved: bool = False
    """Only runs that failed, and of whose family no run has completed."""
    hidden_until: int = 0
    """Leaves out the runs that had ended by this position."""
    before: int | None = None
    """Only requests before this position; a count knows nothing of it."""
    at_position: int = LATEST
    """The runs there were then, by the status that they then had."""

    @property
    def is_failed(self) -> bool:
        """True where only runs that failed are wanted."""
        return self.status == "failed" or self.error_code is not None or self.is_unresolved

    @property
    def is_empty(self) -> bool:
        """True where no run can be wanted."""
        return self.is_failed and self.status not in (None, "failed")


Term: TypeAlias = tuple[str, Sequence[SqlValue]]
"""A condition and its parameters."""
UNFINISHED: Final = ("pending", "running", "awaiting_ui_interaction")
# Times never decrease along positions, so a range of time is a range of positions, and one shape
# of statement serves every filter.
FIRST_FROM: Final = (
    "coalesce((SELECT requested_position FROM run WHERE created_at >= ? "
    f"ORDER BY created_at, requested_position LIMIT 1), {LATEST})"
)
FIRST_AFTER: Final = FIRST_FROM.replace(">=", ">")
_NEWEST_FIRST: Final = "ORDER BY requested_position DESC"
# What `as_of` makes of a row's status, by SQL; the position comes in three times.
_STATUS_AT: Final = """CASE
  WHEN ended_position BETWEEN 1 AND ? THEN status
  WHEN started_position NOT BETWEEN 1 AND ? THEN 'pending'
  WHEN (SELECT count(*) FROM json_each('[' || replace(trim(turns), ' ', ',') || ']')
    WHERE value <= ?) % 2 = 1 THEN 'awaiting_ui_interaction'
  ELSE 'running' END"""
# A run that was under way at a position, and has ended, was requested before it by no more than
# the reach of its kind: a number of positions with so many hexadecimal digits. Most runs are
# short, so nearly all that is met here was under way.
_UNDER_WAY: Final = (
    "requested_position IN (SELECT run.requested_position FROM json_each('[1,2,3,4,5,6,7,8,9,10]') "
    "AS kind CROSS JOIN run WHERE run.workflow = ? AND run.tenant = ? AND run.reach != 0 "
    "AND run.reach = kind.value AND run.requested_position <= ? "
    "AND run.requested_position > ? - (1 << (4 * kind.value)) AND run.ended_position > ?)"
)


def select_runs(wanted: RunFilter, offset: int, limit: int) -> tuple[str, list[SqlValue]]:
    """Return the statement that lists runs, newest first."""
    parts = parts_of(wanted)
    # What a page with a number leaves behind is passed in the index alone.
    columns = "requested_position" if offset else RUN_COLUMNS
    text = " UNION ALL ".join(f"SELECT {columns} FROM run WHERE {where}" for where, _ in parts)
    text = f"{text} {_NEWEST_FIRST} LIMIT ? OFFSET ?"
    if offset:
        text = f"SELECT {RUN_COLUMNS} FROM run WHERE requested_position IN ({text}) {_NEWEST_FIRST}"
    return text, [*(value for _, values in parts for value in values), limit, offset]


async def list_runs(views: Views, wanted: RunFilter, limit: int, offset: int = 0) -> list[RunRow]:
    """List runs as they were at the filter's position, newest first."""
    rows = await views.select(*select_runs(wanted, offset, limit))
    return [as_of(run_row(row), wanted.at_position) for row in rows]


def parts_of(wanted: RunFilter) -> list[tuple[str, list[SqlValue]]]:
    """Return the conditions of the parts that the runs are found in, each run in one of them."""
    until = wanted.hidden_until
    had, whole = _had(wanted), _range(wanted, 0)
    if not until or wanted.status in UNFINISHED:
        return [joined([*terms, *whole]) for terms in had]
    if wanted.original_run is not None:
        kept: Term = ("(ended_position = 0 OR ended_position > ?)", [until])
        return [joined([*terms, *whole, kept]) for terms in had]
    return [
        *(joined([*terms, *_range(wanted, until)]) for terms in had),
        *(joined([*terms, *whole]) for terms in survivors(wanted)),
    ]


def joined(terms: Sequence[Term]) -> tuple[str, list[SqlValue]]:
    """Return one condition and its parameters."""
    where = " AND ".join(term for term, _ in terms)
    return where, [value for _, values in terms for value in values]


def _range(wanted: RunFilter, after: int) -> list[Term]:
    """Return one bound on each side: SQLite would use one of two, and read what the other cuts."""
    at = wanted.at_position
    last = at if wanted.before is None else min(at, wanted.before - 1)
    terms: list[Term] = [("requested_position <= ?", [last])]
    if wanted.created_to is not None:
        within = f"requested_position <= min(?, {FIRST_AFTER} - 1)"
        terms = [(within, [last, wanted.created_to])]
    if wanted.created_from is not None:
        since = f"requested_position >= max(?, {FIRST_FROM})"
        terms.append((since, [after + 1, wanted.created_from]))
    elif after:
        terms.append(("requested_position > ?", [after]))
    return terms


def _had(wanted: RunFilter) -> list[list[Term]]:
    """Return the parts of the runs that fitted at the position, but for their times.

    Most are found where those are that fit now. SQLite has no statistics here, so a plus sign
    keeps it from any index but the most selective; a partial index is used only where its own
    condition is written out.
    """
    at, status, origin = wanted.at_position, wanted.status, wanted.origin
    own: list[Term] = [("workflow = ?", [wanted.workflow]), ("tenant = ?", [wanted.tenant])]
    if wanted.is_empty:
        return [[("0", [])]]
    if wanted.original_run is not None:
        made: Term = ("original_run != '' AND original_run = ?", [wanted.original_run])
        return [[*own, made, *_fitted(wanted)]]
    by_origin: list[Term] = [] if origin is None else [("origin = ?", [origin])]
    beside: list[Term] = [] if origin is None else [("+origin = ?", [origin])]
    ended: Term = ("ended_position <= ?", [at])
    by_code: list[Term] = []
    if wanted.error_code is not None:
        by_code = [("error_code != '' AND error_code = ?", [wanted.error_code])]
    if wanted.is_unresolved:
        still: Term = ("is_unresolved = 1", [])
        later: Term = ("status = 'failed' AND recovered_position != 0", [])
        code: list[Term] = [("+error_code = ?", [wanted.error_code])] if by_code else []
        plain: list[Term] = [("error_code = ?", [wanted.error_code])] if by_code else []
        since: Term = ("recovered_position > ? AND +ended_position <= ?", [at, at])
        aside: list[Term] = [own[0], ("+tenant = ?", [wanted.tenant])]
        return [
            [*own, still, *plain, *by_origin, ended],
            [*aside, later, since, *code, *beside],
        ]
    if by_code:
        return [[*own, *by_code, *by_origin, ended]]
    if status is None:
        return [[*own, *by_origin]]
    has: list[Term] = [*own, ("status = ?", [status])]
    if status not in UNFINISHED:
        # No run leaves such a status.
        has += [("ended_position != 0", []), *by_origin] if by_origin else []
        return [[*has, ended if by_origin else ("changed_position <= ?", [at])]]
    return [[*has, *beside, ("changed_position <= ?", [at])], *_was(wanted, own, beside)]


def _was(wanted: RunFilter, own: Sequence[Term], beside: Sequence[Term]) -> list[list[Term]]:
    """Return where the runs are that have left the unfinished status that they had.

    One part a status, since in each of them the index delivers the order.
    """
    at = wanted.at_position
    had: Term = (f"{_STATUS_AT} = ?", [at, at, at, wanted.status])
    changed: list[list[Term]] = [
        [*own, ("status = ?", [one]), *beside, ("changed_position > ?", [at]), had]
        for one in UNFINISHED
    ]
    ended: Term = ("ended_position != 0 AND ended_position > ?", [at])
    return [*changed, [own[0], ("+tenant = ?", [wanted.tenant]), *beside, ended, had]]


def survivors(wanted: RunFilter) -> list[list[Term]]:
    """Return the parts of the runs that were not hidden, although requested so long ago."""
    until = wanted.hidden_until
    own: list[Term] = [("workflow = ?", [wanted.workflow]), ("tenant = ?", [wanted.tenant])]
    old: Term = ("requested_position <= ?", [until])
    ended: Term = (_UNDER_WAY, [wanted.workflow, wanted.tenant, until, until, until])
    parts: list[list[Term]] = [[ended, *_fitted(wanted)]]
    if wanted.status is None and not wanted.is_failed:
        fitted = _fitted(wanted)
        parts += [[*own, ("status = ?", [one]), old, *fitted] for one in UNFINISHED]
    return [] if wanted.is_empty else parts


def _fitted(wanted: RunFilter) -> list[Term]:
    """Return the conditions on a row that tell whether the run fitted at the position."""
    at = wanted.at_position
    terms: list[Term] = []
    if wanted.origin is not None:
        terms.append(("+origin = ?", [wanted.origin]))
    if wanted.error_code is not None:
        terms.append(("+error_code = ?", [wanted.error_code]))
    if wanted.is_unresolved:
        terms.append(("(recovered_position = 0 OR recovered_position > ?)", [at]))
    if wanted.is_failed or wanted.status is not None:
        terms.append((f"{_STATUS_AT} = ?", [at, at, at, wanted.status or "failed"]))
    return terms
