"""Starting runs by synchronous calls and by events, and renewing a webhook's token."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ..engine.cloud_events import CloudEvent, CloudEventError, NoEventError, read_events
from ..engine.component import is_object
from ..engine.errors import StateError
from ..engine.nodes.triggers import SyncRequestTrigger
from ..engine.run_requests import Started
from ..engine.strict_json import InvalidJsonError
from ..engine.sync_answers import answer_of, answering_nodes
from ..journal.journal import RequestKey
from ..projections.run_state import RunState, fold
from . import rendering, trigger_wire
from .call import Answer, Call, answer
from .errors import RequestError
from .services import App
from .workflow_routes import read_if_match, shown_workflow

SYNC_SECONDS_MAX: Final = 30
EVENT_BYTES_MAX: Final = 256 * 1024
"""As large as a node's output may be: a larger event could start a run, but not its trigger."""
_MESSAGE_LENGTH_MAX: Final = 500
_ERASED_MESSAGE: Final = b'{"message":"(erased)"}'


async def call_sync(app: App, call: Call) -> Answer:
    """Run a workflow with the body as its payload and answer with its result.

    `Prefer: wait=N` shortens the 30 s that the answer may take. The run goes on beyond them, and
    also when the caller is gone.
    """
    raw = call.json()
    payload: Any = raw if call.body else {}
    if not is_object(payload):
        raise RequestError(
            422, "parameter_invalid", "The body must be an object.", errors={"": ["not an object"]}
        )
    workflow_id = call.params["workflowId"]
    request = call.idempotency("sync", workflow_id, raw)
    await _check_sync_trigger(app, call, workflow_id, request)
    app.engine.refuse_when_full(call.principal.tenant, workflow_id)
    started = await app.starts.execute(
        call.caller,
        workflow_id,
        payload,
        origin="sync",
        trigger_type="sync",
        request=request,
    )
    await app.engine.begin(started)
    headers = {"X-Run-Id": started.run_id}
    if started.repeated:
        headers["Idempotency-Replayed"] = "true"
    seconds = min(call.wait_seconds() or SYNC_SECONDS_MAX, SYNC_SECONDS_MAX)
    ended = await _ended(app, started, seconds)
    if ended is None:
        message = f"The run has not ended within {seconds} s; it goes on."
        raise RequestError(504, "run_still_running", message, headers=headers)
    made = answer(200, await _result(app, *ended, headers))
    for name, value in headers.items():
        made = made.with_header(name, value)
    return made


async def publish(app: App, call: Call) -> Answer:
    """Start a run of every active workflow whose `event_trigger` fits the event.

    Events come in the structured, binary or batch mode of CloudEvents 1.0. The same event within
    24 hours makes no second runs and gets the same answer.
    """
    events = _read(call)
    app.engine.refuse_when_full(call.principal.tenant)
    begun: list[Started] = []
    for event in events:
        for started in await app.fan_out.publish(call.caller, event):
            await app.engine.begin(started)
            begun.append(started)
    runs = list(dict.fromkeys(started.run_id for started in begun))
    made = answer(202, trigger_wire.EventRuns(runs))
    if begun and all(started.repeated for started in begun):
        made = made.with_header("Idempotency-Replayed", "true")
    return made


async def renew_webhook_token(app: App, call: Call) -> Answer:
    """Give a workflow's webhook a new token; the old one is unknown at once."""
    state = await app.authoring.renew_token(
        call.caller, call.params["workflowId"], read_if_match(call)
    )
    return await shown_workflow(app, call, state)


async def _check_sync_trigger(
    app: App, call: Call, workflow_id: str, request: RequestKey | None
) -> None:
    state = await app.workflows.find(call.principal.tenant, workflow_id)
    if request is not None and await app.journal.requested(request) is not None:
        # What was answered before is answered again, whatever the workflow has become.
        return
    definition = await app.workflows.definition(state, state.current.number)
    if not isinstance(definition.trigger, SyncRequestTrigger):
        raise StateError("definition_incompatible", "The workflow has no sync_request_trigger.")


async def _ended(
    app: App, started: Started, seconds: int
) -> tuple[RunState, Mapping[int, bytes]] | None:
    """Wait for a run's end; None if it takes longer, or the service is asked to stop."""
    watch = app.engine.watch(started.run_id)
    try:
        await asyncio.wait(
            (watch, app.stopping), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if not watch.done() or watch.cancelled():
            return None
        snapshot = watch.result()
    finally:
        watch.cancel()
    if snapshot is not None:
        return fold(started.run_id, snapshot.events), snapshot.bodies
    loaded = await app.runs.load(started.run_id)
    return (loaded.state, {}) if loaded.state.is_ended else None


async def _result(
    app: App, state: RunState, bodies: Mapping[int, bytes], headers: Mapping[str, str]
) -> Any:
    """Return what a run that has ended answers.

    Raises:
        RequestError: 500, it failed.
    """
    if state.status != "completed":
        found = await _bodies(app, [state.message_at], bodies)
        text = msgspec.json.decode(found.get(state.message_at, _ERASED_MESSAGE))
        text = text.get("message", "(archived)")
        line = " ".join(f"The run failed: {text}".split())[:_MESSAGE_LENGTH_MAX]
        raise RequestError(500, "run_failed", line, headers=headers)
    workflow = await app.workflows.find(state.tenant, state.origin.workflow, deleted_too=True)
    try:
        definition = await app.workflows.definition(workflow, state.origin.workflow_version)
    except StateError:
        # Which node's output was the answer is gone with the definition.
        return rendering.ERASED
    nodes = answering_nodes(definition, state.nodes)
    positions = {node: state.nodes[node].body_at for node in nodes}
    found = await _bodies(app, list(positions.values()), bodies)
    outputs = {
        node: msgspec.json.decode(found.get(at, rendering.ERASED)) for node, at in positions.items()
    }
    return answer_of(definition, nodes, outputs)


async def _bodies(
    app: App, positions: list[int], known: Mapping[int, bytes]
) -> Mapping[int, bytes]:
    missing = [position for position in positions if position not in known]
    return {**known, **await app.bodies(missing)} if missing else known


def _read(call: Call) -> list[CloudEvent]:
    """Read the events of a request.

    Raises:
        RequestError: 400, 413, 415, 422.
    """
    headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in call.headers.items()}
    try:
        events = read_events(headers, call.body)
    except InvalidJsonError as error:
        raise RequestError(400, "invalid_json", str(error)) from None
    except NoEventError as error:
        raise RequestError(415, "unsupported_media_type", str(error)) from None
    except CloudEventError as error:
        code = "parameter_missing" if error.is_missing else "parameter_invalid"
        raise RequestError(422, code, str(error), errors=error.errors) from None
    if any(len(msgspec.json.encode(event.payload)) > EVENT_BYTES_MAX for event in events):
        message = f"An event may have at most {EVENT_BYTES_MAX} bytes."
        raise RequestError(413, "payload_too_large", message)
    return events
