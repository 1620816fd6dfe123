"""What one reads about runs: logs of a workflow, statistics and lineage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, cast, get_args
from urllib.parse import urlencode

from msgspec import structs

from ..engine.errors import NotFoundError
from ..projections import lineage_views, log_views
from ..projections.lineage_views import LineageRow
from ..projections.log_views import ListedLogRow, LogFilter
from ..projections.run_state import LogEntry, LogStatus, RunState
from . import insight_wire, rendering, wire
from .call import Answer, Call, answer
from .errors import parameter_invalid
from .paging import read_time
from .services import DAY_US, App
from .times import to_wire, to_wire_or_none

LIMIT: Final = 100
LIMIT_MAX: Final = 1000
PAGE_BYTES: Final = 8 * 1024 * 1024
"""A list of logs ends early after the entry whose output makes its outputs larger than this."""
WINDOW_US: Final = 30 * DAY_US
LEVELS: Final = get_args(LogStatus)
_BODIES_AT_ONCE: Final = 40
_CURSOR: Final = re.compile(r"([0-9]{1,16})-([0-9]{1,16})")


async def logs(app: App, call: Call) -> Answer:
    """List a workflow's log entries, newest first.

    A header `Link` with `rel="next"` leads to the entries after these. With `run`, the list holds
    the entries of that run alone.
    """
    query, tenant = call.query, call.principal.tenant
    found = await app.workflows.find(tenant, call.params["workflowId"], at=call.at)
    workflow = found.workflow_id
    limit = _limit(query)
    wanted = LogFilter(
        status=_level(query),
        node=query.get("node"),
        created_from=read_time("from", query.get("from")),
        created_to=read_time("to", query.get("to")),
        before=_cursor(query),
        at_position=call.at,
        hidden_until=await app.hidden_until(call.at),
    )
    run_id = query.get("run")
    state: RunState | None = None
    rows: list[LogEntry] | list[ListedLogRow]
    if run_id is not None:
        state = await _run_of(app, call, workflow, run_id)
        rows = log_views.list_of_run(state.log, wanted, limit + 1) if state else []
    else:
        await app.views.wait_for(call.at)
        rows = await log_views.list_logs(app.views, workflow, wanted, limit + 1)
    bodies, total = await _page_of_bodies(app, [row.body_at for row in rows[:limit]])
    shown = [
        rendering.listed_log(row, bodies)
        if isinstance(row, ListedLogRow)
        else rendering.log(cast("RunState", state), row, bodies)
        for row in rows[:total]
    ]
    made = answer(200, shown)
    if total == len(rows):
        return made
    last = rows[total - 1]
    kept = dict(query) | {"cursor": f"{last.created_at}-{last.position}"}
    if "as_of" in query:
        # It may be a time, and stays the same moment only as a position.
        kept["as_of"] = f"p{call.at}"
    return made.with_header("Link", f'<{call.path}?{urlencode(kept)}>; rel="next"')


async def recent_logs(app: App, call: Call) -> Answer:
    """List the newest log entry of each workflow, newest first, with its workflow."""
    tenant, limit = call.principal.tenant, _limit(call.query)
    await app.views.wait_for(call.at)
    hidden = await app.hidden_until(call.at)
    rows = await log_views.newest_logs(app.views, tenant, limit, call.at, hidden)
    in_clear = call.has_scope("workflows:write")
    made: list[insight_wire.RecentLog] = []
    for row in rows:
        state = await app.workflows.find(tenant, row.workflow, deleted_too=True, at=call.at)
        workflow = await app.workflow(
            state, state.current, in_clear=in_clear, whole=False, at=call.at
        )
        entry = rendering.listed_log(row, await app.bodies([row.body_at]))
        made.append(insight_wire.RecentLog(**structs.asdict(entry), workflow=workflow))
    return answer(200, made)


async def log_stats(app: App, call: Call) -> Answer:
    """Count what a workflow did in the 30 days before the newest event of the journal."""
    tenant = call.principal.tenant
    state = await app.workflows.find(tenant, call.params["workflowId"], at=call.at)
    (newest,) = await app.journal.read_all(call.at - 1, 1)
    await app.views.wait_for(call.at)
    before = await app.journal.position_at(newest.at - WINDOW_US - 1) or 0
    first = max(before, await app.hidden_until(call.at)) + 1
    found = await log_views.log_stats(app.views, tenant, state.workflow_id, first, call.at)
    ended = found.completed + found.failed
    return answer(
        200,
        insight_wire.LogStats(
            insight_wire.LogStatuses(found.success, found.error, found.warning),
            insight_wire.RecentRuns(found.completed, found.failed),
            found.runs,
            round(100 * found.completed / ended, 2) if ended else 0.0,
        ),
    )


async def lineage(app: App, call: Call) -> Answer:
    """Return the tree of reruns and resumes that a run belongs to, and whether one completed."""
    loaded = await app.runs.find(call.principal.tenant, call.params["runId"], at=call.at)
    await app.views.wait_for(call.at)
    found = await lineage_views.lineage(app.views, loaded.state.run_id, call.at)
    if found is None:
        raise NotFoundError("run")
    made_of: dict[str, list[str]] = {}
    for row in found.runs:
        made_of.setdefault(row.original_run, []).append(row.run_id)
    started_by: dict[str, list[LineageRow]] = {}
    for row in found.children:
        started_by.setdefault(row.parent_run, []).append(row)
    return answer(
        200,
        insight_wire.Lineage(
            loaded.state.run_id,
            loaded.state.origin.workflow,
            found.runs[0].run_id,
            found.succeeded_run != "",
            found.succeeded_run or None,
            [
                _lineage_run(row, made_of.get(row.run_id, []), started_by.get(row.run_id, []))
                for row in found.runs
            ],
            found.is_truncated,
        ),
    )


async def _run_of(app: App, call: Call, workflow: str, run_id: str) -> RunState | None:
    """Load a run if it is one of this workflow's."""
    try:
        state = (await app.runs.find(call.principal.tenant, run_id, at=call.at)).state
    except NotFoundError:
        return None
    return state if state.origin.workflow == workflow else None


async def _page_of_bodies(app: App, positions: list[int]) -> tuple[dict[int, bytes], int]:
    """Read outputs in order until a page is full; returns them and how many entries they are."""
    bodies: dict[int, bytes] = {}
    size = 0
    for start in range(0, len(positions), _BODIES_AT_ONCE):
        some = positions[start : start + _BODIES_AT_ONCE]
        bodies |= await app.bodies(some)
        for index, position in enumerate(some, start + 1):
            size += len(bodies.get(position, b""))
            if size > PAGE_BYTES:
                return bodies, index
    return bodies, len(positions)


def _lineage_run(
    row: LineageRow, children: list[str], sub_runs: list[LineageRow]
) -> insight_wire.LineageRun:
    parent = None
    if row.parent_run:
        path = rendering.iteration(row.parent_iteration)
        parent = insight_wire.ParentNode(row.parent_run, row.parent_node, path)
    return insight_wire.LineageRun(
        id=row.run_id,
        workflow_version=row.workflow_version,
        status=row.status,
        origin=cast("wire.Origin", row.origin),
        original_run_id=row.original_run or None,
        resumed_from_node_id=row.chosen_node or None,
        failed_node_id=row.failed_node or None,
        created_at=to_wire(row.created_at),
        started_at=to_wire_or_none(row.started_at),
        completed_at=to_wire_or_none(row.ended_at),
        duration_in_seconds=rendering.duration(row.started_at, row.ended_at),
        children=children,
        parent=parent,
        sub_runs=[
            insight_wire.SubRun(
                sub.run_id,
                sub.workflow,
                sub.parent_node,
                rendering.iteration(sub.parent_iteration),
                sub.status,
                to_wire(sub.created_at),
                to_wire_or_none(sub.ended_at),
            )
            for sub in sub_runs
        ],
    )


def _level(query: Mapping[str, str]) -> str | None:
    level = query.get("level")
    if level is None or level in LEVELS:
        return level
    raise parameter_invalid("level", f"must be one of {', '.join(LEVELS)}")


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit", str(LIMIT))
    if not (text.isascii() and text.isdecimal() and len(text) <= 8 and 1 <= int(text) <= LIMIT_MAX):
        raise parameter_invalid("limit", f"must be a whole number from 1 to {LIMIT_MAX}")
    return int(text)


def _cursor(query: Mapping[str, str]) -> log_views.Place | None:
    text = query.get("cursor")
    if text is None:
        return None
    found = _CURSOR.fullmatch(text)
    if found is None:
        raise parameter_invalid("cursor", "must be one that a Link header gave")
    return int(found[1]), int(found[2])
