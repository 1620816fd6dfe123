"""How two runs differ, and how a run differs from the last one that went well."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..engine.runs import LoadedRun
from ..projections import lineage_views
from ..projections.run_comparison import Bodies, Comparing, Comparison, Subject, comparing
from ..projections.run_diff import Told
from ..projections.run_lists import RunFilter, list_runs
from . import comparison_wire as out
from .call import Answer, Call, answer
from .comparing import run_diff_of
from .rendering import Archived
from .services import App


async def diff(app: App, call: Call) -> Answer:
    """Compare two runs: payloads, definitions, where they first went apart, and each node."""
    tenant = call.principal.tenant
    left = await app.runs.find(tenant, call.params["runId"], at=call.at)
    right = await app.runs.find(tenant, call.params["otherRunId"], at=call.at)
    return answer(200, await _compared(app, call, left, right))


async def blame(app: App, call: Call) -> Answer:
    """Compare a run with the last success before it.

    That is the nearest completed run that it was made of (as a rerun or resume of it), else the
    newest run of its workflow that had completed when this one was requested.
    """
    tenant = call.principal.tenant
    run = await app.runs.find(tenant, call.params["runId"], at=call.at)
    state = run.state
    # What had succeeded by then is the same whenever it is asked.
    then = state.requested_position
    await app.views.wait_for(then)
    reason: out.BlameReason = "original"
    found = await lineage_views.succeeded_original(app.views, state.run_id, then)
    if found is None:
        reason = "newest_success"
        wanted = RunFilter(
            tenant=tenant, workflow=state.origin.workflow, status="completed", at_position=then
        )
        rows = await list_runs(app.views, wanted, 1)
        found = rows[0].run_id if rows else None
    if found is None:
        return answer(200, out.Blame(state.run_id, None, None, None))
    success = await app.runs.find(tenant, found, at=call.at)
    shown = await _compared(app, call, success, run)
    return answer(200, out.Blame(state.run_id, found, reason, shown))


async def _compared(app: App, call: Call, left: LoadedRun, right: LoadedRun) -> out.RunDiff:
    steps = comparing(await _subject(app, call, left), await _subject(app, call, right))
    bodies: Bodies | None = None
    while True:
        # Runs of many thousand events take a while: too long for the loop that serves everybody.
        wanted = await asyncio.to_thread(_advance, steps, bodies)
        if isinstance(wanted, Comparison):
            return await asyncio.to_thread(run_diff_of, wanted)
        found = await app.bodies(list(wanted))
        # An archived body is as unknown here as an erased one.
        bodies = {at: body for at, body in found.items() if not isinstance(body, Archived)}


def _advance(steps: Comparing, bodies: Bodies | None) -> Sequence[int] | Comparison:
    """Go on to the next bodies that are wanted, or to the end."""
    try:
        return next(steps) if bodies is None else steps.send(bodies)
    except StopIteration as ended:
        found: Comparison = ended.value
        return found


async def _subject(app: App, call: Call, loaded: LoadedRun) -> Subject:
    origin = loaded.state.origin
    tenant = call.principal.tenant
    workflow = await app.workflows.find(tenant, origin.workflow, deleted_too=True)
    return Subject(
        Told(loaded.state, loaded.events),
        await app.runs.payload_at(loaded.state),
        workflow.versions[origin.workflow_version - 1].body_at,
    )
