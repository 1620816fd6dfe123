"""Runs: execute, get, rerun, resume, cancel."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from ..engine.requests import StopRequest
from ..engine.run_requests import Started
from ..engine.transcript import Snapshot
from ..projections.run_lists import RunFilter, list_runs
from ..projections.run_state import RunState, fold
from . import rendering, wire
from .call import Answer, Call, answer
from .errors import parameter_invalid
from .services import App

EMBEDDED_RUNS = 15


async def execute(app: App, call: Call) -> Answer:
    """Start a run of the workflow's current version."""
    raw = call.json()
    wanted = call.read(wire.ExecuteRequest) if call.body else wire.ExecuteRequest()
    workflow_id = call.params["workflowId"]
    request = call.idempotency("execute", workflow_id, raw)
    app.engine.refuse_when_full(call.principal.tenant, workflow_id)
    started = await app.starts.execute(
        call.caller,
        workflow_id,
        wanted.context,
        origin="execute",
        trigger_type="manual",
        request=request,
    )
    return await _accepted(app, call, started, None)


async def get_run(app: App, call: Call) -> Answer:
    """Return a run with its logs."""
    include = call.query.get("include")
    if include not in (None, "workflow"):
        raise parameter_invalid("include", "must be 'workflow'")
    tenant, run_id, forgotten = call.principal.tenant, call.params["runId"], app.finished.forgotten
    known = None if include else app.finished.find(tenant, run_id, call.at)
    if known is not None:
        await app.runs.check_visible(tenant, known.workflow, at=call.at)
        return Answer(200, known.body)
    loaded = await app.runs.find(tenant, run_id, at=call.at)
    shown = await show_run(app, loaded.state)
    if include:
        pinned = await _pinned_workflow(
            app, loaded.state, call.at, in_clear=call.has_scope("workflows:write")
        )
        return answer(200, msgspec.structs.replace(shown, workflow=pinned))
    body = msgspec.json.encode(shown)
    app.finished.keep(loaded, body, forgotten)
    return Answer(200, body)


async def rerun(app: App, call: Call) -> Answer:
    """Start a new run with the same trigger payload."""
    raw = call.json()
    wanted = call.read(wire.RerunRequest)
    run_id = call.params["runId"]
    request = call.idempotency("rerun", run_id, raw)
    app.engine.refuse_when_full(call.principal.tenant)
    started = await app.starts.rerun(call.caller, run_id, wanted.definition, request)
    return await _accepted(app, call, started, ("Workflow re-run initiated successfully.", run_id))


async def resume(app: App, call: Call) -> Answer:
    """Start a new run from the consistent cut at a node that succeeded."""
    raw = call.json()
    wanted = call.read(wire.ResumeRequest)
    run_id, node = call.params["runId"], call.params["nodeId"]
    # A key that is none is refused in a rehearsal too: it would be when it is meant.
    request = call.idempotency("resume", f"{run_id}\n{node}", raw)
    if wanted.dry_run:
        plan = await app.starts.plan_resume(
            call.caller, run_id, node, wanted.definition, allow_completed=wanted.allow_completed
        )
        return answer(200, wire.Plan(list(plan.replayed), list(plan.executed), plan.definition))
    app.engine.refuse_when_full(call.principal.tenant)
    started = await app.starts.resume(
        call.caller,
        run_id,
        node,
        wanted.definition,
        allow_completed=wanted.allow_completed,
        request=request,
    )
    message = f"Workflow resumed successfully from node '{node}'."
    return await _accepted(app, call, started, (message, run_id))


async def cancel(app: App, call: Call) -> Answer:
    """Ask a run to stop, and return it as it then is."""
    run_id = call.params["runId"]
    caller = call.caller
    accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    request = StopRequest(caller.subject, caller.metadata(app.pseudonyms), accepted)
    await app.ask(caller, request, run_id)
    loaded = await app.runs.find(caller.tenant, run_id)
    return answer(202, await show_run(app, loaded.state))


async def _accepted(app: App, call: Call, started: Started, of: tuple[str, str] | None) -> Answer:
    """Answer for a run that is durable: with 202 at once, or with 200 once it has ended.

    `of` is the message and the original of a rerun or resume, whose answer wraps the run.
    """
    await app.engine.begin(started)
    seconds = call.wait_seconds()
    if seconds:
        finished = await _finished(app, started.run_id, seconds)
        if finished is not None:
            wrapped = await _wrap(app, started, finished, of)
            made = answer(200, wrapped).with_header("Preference-Applied", f"wait={seconds}")
            return _marked(made, started)
    accepted = fold(started.run_id, started.events)
    if started.repeated or of is not None:
        shown = await show_run(app, accepted, logs=False)
    else:
        position = started.events[0].position
        shown = rendering.run(accepted, {position: started.body}, position, logs=False)
    return _marked(answer(202, await _wrap(app, started, shown, of)), started)


async def _wrap(
    app: App, started: Started, shown: wire.Run, of: tuple[str, str] | None
) -> wire.Run | wire.NewRun:
    if of is None:
        return shown
    message, original = of
    accepted = fold(started.run_id, started.events)
    if accepted.origin.origin == "rerun":
        # As of the run's own first event, and without secrets, so that a repeated call, and one
        # with another token, shows the same.
        workflow = await _pinned_workflow(
            app, accepted, accepted.requested_position, in_clear=False
        )
        shown = msgspec.structs.replace(shown, workflow=workflow)
    return wire.NewRun(message, original, shown)


def _marked(made: Answer, started: Started) -> Answer:
    return made.with_header("Idempotency-Replayed", "true") if started.repeated else made


async def _finished(app: App, run_id: str, seconds: int) -> wire.Run | None:
    """Wait for a run's end; None if it takes longer, awaits a person, or the service stops."""
    watch = app.engine.watch(run_id, until_paused=True)
    try:
        await asyncio.wait(
            (watch, app.stopping), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if not watch.done() or watch.cancelled():
            return None
        snapshot = watch.result()
    finally:
        watch.cancel()
    return await _show_ended(app, run_id, snapshot)


async def _show_ended(app: App, run_id: str, snapshot: Snapshot | None) -> wire.Run | None:
    """Show an ended run from what the engine kept of it, else as the journal has it."""
    if snapshot is not None:
        state = fold(run_id, snapshot.events)
        if not state.origin.payload_run:
            return rendering.run(state, snapshot.bodies, state.requested_body_at, logs=True)
    loaded = await app.runs.load(run_id)
    return await show_run(app, loaded.state) if loaded.state.is_ended else None


async def show_run(app: App, state: RunState, *, logs: bool = True) -> wire.Run:
    """Show a run as a state has it, with its logs unless it is shown as it was accepted."""
    payload_at = await app.runs.payload_at(state)
    positions: Sequence[int] = rendering.run_positions(state, payload_at, logs=logs)
    bodies = await app.bodies(list(positions))
    return rendering.run(state, bodies, payload_at, logs=logs)


async def _pinned_workflow(
    app: App, state: RunState, at_position: int, *, in_clear: bool
) -> wire.Workflow:
    """Show the version that a run is pinned to, with the workflow's newest runs."""
    workflow = await app.workflows.find(
        state.tenant, state.origin.workflow, deleted_too=True, at=at_position
    )
    version = workflow.versions[state.origin.workflow_version - 1]
    await app.views.wait_for(at_position)
    newest = RunFilter(
        tenant=workflow.tenant,
        workflow=workflow.workflow_id,
        hidden_until=await app.hidden_until(at_position),
        at_position=at_position,
    )
    rows = await list_runs(app.views, newest, EMBEDDED_RUNS)
    bodies = await app.bodies([p for row in rows for p in rendering.listed_positions(row)])
    shown = await app.workflow(workflow, version, in_clear=in_clear, at=at_position)
    runs = [rendering.listed_run(row, bodies) for row in rows]
    # When its schedule fires next changes without a new version, so it is no part of what a run
    # is pinned to: the same answer must come again.
    return msgspec.structs.replace(shown, next_run_at=None, runs=runs or UNSET)
