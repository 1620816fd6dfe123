"""Webhooks in: whoever holds a workflow's token starts a run with what they send."""

from __future__ import annotations

from typing import Any, Final

from ..engine.caller import Caller
from ..engine.errors import NotFoundError
from ..engine.outbound import is_credential_name
from . import wire
from .auth import Principal
from .call import Answer, Call, answer
from .services import App

SUBJECT: Final = "webhook"
"""Who a run started by a webhook belongs to, as far as events tell."""


async def receive(app: App, call: Call) -> Answer:
    """Start a run with the body as `webhook_payload`."""
    token = call.params["token"]
    hashed = app.pseudonyms.token(token)
    # The look-up is by a keyed hash, so what its time tells is nothing about any token.
    await app.views.wait_for(app.journal.head)
    workflow_id = await app.views.find_webhook(hashed)
    if workflow_id is None:
        raise NotFoundError("webhook")
    state = await app.workflows.find_any(workflow_id)
    if not state.exists or state.current.webhook_hash != hashed:
        raise NotFoundError("webhook")
    raw = call.json()
    payload: dict[str, Any] = {
        "webhook_payload": {} if raw is None else raw,
        "headers": _headers(call),
    }
    call.principal = Principal(SUBJECT, state.tenant, frozenset(), 0)
    request = call.idempotency("webhook", workflow_id, raw)
    app.engine.refuse_when_full()
    started = await app.starts.execute(
        Caller(state.tenant, SUBJECT, call.request_id),
        workflow_id,
        payload,
        origin="webhook",
        trigger_type="webhook",
        request=request,
    )
    await app.engine.begin(started)
    made = answer(202, wire.Empty()).with_header("X-Run-Id", started.run_id)
    return made.with_header("Idempotency-Replayed", "true") if started.repeated else made


def _headers(call: Call) -> dict[str, str]:
    """Return the headers as the trigger shows them: without credentials."""
    return {
        name: value.decode("latin-1")
        for raw, value in sorted(call.headers.items())
        if not is_credential_name(name := raw.decode("latin-1"))
    }
