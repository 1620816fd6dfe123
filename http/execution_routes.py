"""Lists of a workflow's runs, and resuming those of a list."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, get_args

from ..engine.errors import EngineError
from ..journal.errors import JournalError
from ..projections.run_counts import count_runs
from ..projections.run_lists import RunFilter, list_runs
from . import rendering, wire
from .call import Answer, Call, answer
from .errors import parameter_invalid, refusal_of
from .paging import frame, read_page, read_time, with_next
from .services import App

_STATUSES: Final = get_args(wire.RunStatus)
_ORIGINS: Final = get_args(wire.Origin)
_BOOLEANS: Final = {"true": True, "false": False}
_CODE: Final = re.compile(wire.ERROR_CODE)


async def executions(app: App, call: Call) -> Answer:
    """List a workflow's runs, newest first."""
    tenant, query = call.principal.tenant, call.query
    await app.workflows.find(tenant, call.params["workflowId"], at=call.at)
    page = read_page(query)
    wanted = RunFilter(
        tenant=tenant,
        workflow=call.params["workflowId"],
        status=_one_of(query, "status", _STATUSES),
        created_from=read_time("from", query.get("from")),
        created_to=read_time("to", query.get("to")),
        origin=_one_of(query, "origin", _ORIGINS),
        original_run=query.get("original_run_id"),
        error_code=_error_code(query),
        is_unresolved=_BOOLEANS[_one_of(query, "unresolved", tuple(_BOOLEANS)) or "false"],
        hidden_until=await app.hidden_until(call.at),
        before=page.cursor,
        at_position=call.at,
    )
    await app.views.wait_for(call.at)
    rows = await list_runs(app.views, wanted, page.size, page.offset)
    total = await count_runs(app.views, wanted)
    bodies = await app.bodies([p for row in rows for p in rendering.listed_positions(row)])
    oldest = rows[-1].requested_position if rows else None
    links, meta = frame(page, call.path, query, len(rows), total, oldest)
    data = [rendering.listed_run(row, bodies) for row in rows]
    return with_next(answer(200, wire.RunPage(data, links, meta)), call, links)


async def resume_many(app: App, call: Call) -> Answer:
    """Resume each failed run of a filter, one after the other."""
    wanted = call.read(wire.BulkResumeRequest)
    tenant, workflow_id = call.principal.tenant, call.params["workflowId"]
    await app.workflows.find(tenant, workflow_id)
    at = app.journal.head
    chosen = RunFilter(
        tenant=tenant,
        workflow=workflow_id,
        status="failed",
        created_from=read_time("filter.from", wanted.filter.from_),
        created_to=read_time("filter.to", wanted.filter.to),
        origin=wanted.filter.origin,
        original_run=wanted.filter.original_run_id,
        error_code=wanted.filter.error_code,
        is_unresolved=wanted.filter.unresolved,
        hidden_until=await app.hidden_until(at),
        before=wanted.cursor,
    )
    await app.views.wait_for(at)
    rows = await list_runs(app.views, chosen, wanted.limit)
    accepted: list[wire.ResumedRun] = []
    refused: list[wire.RefusedRun] = []
    for row in reversed(rows):
        try:
            accepted.append(await _resume_one(app, call, row.run_id, wanted))
        except (EngineError, JournalError) as error:
            refusal = refusal_of(error)
            refused.append(wire.RefusedRun(row.run_id, refusal.code, refusal.message))
    more = rows[-1].requested_position if len(rows) == wanted.limit else None
    return answer(202, wire.BulkResume(accepted, refused, more))


async def _resume_one(
    app: App, call: Call, run_id: str, wanted: wire.BulkResumeRequest
) -> wire.ResumedRun:
    node = wanted.node
    if node is None:
        loaded = await app.runs.find(call.principal.tenant, run_id)
        node = await app.starts.last_good_node(loaded.state)
    if wanted.dry_run:
        await app.starts.plan_resume(call.caller, run_id, node, "original", allow_completed=False)
        return wire.ResumedRun(original_run_id=run_id, node_id=node, new_run_id=None)
    app.engine.refuse_when_full(call.principal.tenant)
    started = await app.starts.resume(
        call.caller, run_id, node, "original", allow_completed=False, request=None
    )
    await app.engine.begin(started)
    return wire.ResumedRun(original_run_id=run_id, node_id=node, new_run_id=started.run_id)


def _error_code(query: Mapping[str, str]) -> str | None:
    code = query.get("error_code")
    if code is None or _CODE.fullmatch(code):
        return code
    raise parameter_invalid("error_code", "must be a code such as http_503")


def _one_of(query: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str | None:
    text = query.get(name)
    if text is None or text in allowed:
        return text
    raise parameter_invalid(name, f"must be one of {', '.join(allowed)}")
