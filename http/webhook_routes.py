"""Webhooks in: whoever holds a workflow's token starts a run with what they send."""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from ..engine.caller import Caller
from ..engine.errors import NotFoundError
from ..engine.nodes.triggers import WebhookTrigger
from ..engine.outbound import is_credential_name
from ..engine.signatures import (
    SIGNATURE_HEADER,
    SignatureConfig,
    accepted_signature,
)
from ..journal.journal import RequestKey
from ..projections.workflow_state import WorkflowState
from . import wire
from .auth import Principal
from .call import Answer, Call, answer
from .errors import RequestError
from .services import App

SUBJECT: Final = "webhook"
"""Who a run started by a webhook belongs to, as far as events tell."""
_log = logging.getLogger("refold.webhooks")


async def receive(app: App, call: Call) -> Answer:
    """Start a run with the body as `webhook_payload`.

    Where the workflow's trigger asks for signed calls, every call without an acceptable
    signature gets the same 401.
    """
    state = await _find(app, call.params["token"])
    app.intake.learn(call.params["token"], state.tenant)
    call.principal = Principal(SUBJECT, state.tenant, frozenset(), 0)
    definition = await app.workflows.definition(state, state.current.number)
    trigger = definition.trigger
    config = trigger.signature if isinstance(trigger, WebhookTrigger) else None
    signature = None if config is None else await _check_signature(app, call, state, config)
    raw = call.json()
    payload: dict[str, Any] = {
        "webhook_payload": {} if raw is None else raw,
        "headers": _headers(call),
    }
    request = call.idempotency("webhook", state.workflow_id, raw)
    if request is None and signature is not None and config is not None and config.replays_show:
        request = _signature_key(state, signature)
    app.engine.refuse_when_full(state.tenant, state.workflow_id)
    started = await app.starts.execute(
        Caller(state.tenant, SUBJECT, call.request_id),
        state.workflow_id,
        payload,
        origin="webhook",
        trigger_type="webhook",
        request=request,
    )
    await app.engine.begin(started)
    made = answer(202, wire.Empty()).with_header("X-Run-Id", started.run_id)
    return made.with_header("Idempotency-Replayed", "true") if started.repeated else made


async def _find(app: App, token: str) -> WorkflowState:
    """Find the workflow that has a token now.

    Raises:
        NotFoundError: none has.
    """
    hashed = app.pseudonyms.token(token)
    # The look-up is by a keyed hash, so what its time tells is nothing about any token.
    await app.views.wait_for(app.journal.head)
    workflow_id = await app.views.find_webhook(hashed)
    if workflow_id is None:
        raise NotFoundError("webhook")
    state = await app.workflows.find_any(workflow_id)
    if not state.exists or state.current.webhook_hash != hashed:
        raise NotFoundError("webhook")
    return state


async def _check_signature(
    app: App, call: Call, state: WorkflowState, config: SignatureConfig
) -> str:
    """Return the signature of a call.

    Raises:
        RequestError: 401, whatever is wrong with it.
    """
    vault = await app.vault.secrets(state.tenant)
    revealed = [vault.reveal(reference) for reference in config.references]
    secrets = [secret for secret in revealed if secret]
    if len(secrets) < len(revealed):
        # The caller learns nothing of it, so whoever runs the service must.
        missing = len(revealed) - len(secrets)
        _log.warning("workflow %s: the vault lacks %d secrets", state.workflow_id, missing)
    headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in call.headers.items()}
    signature = accepted_signature(config, secrets, headers, call.body, time.time())
    if signature is None:
        message = "The signature is missing or not acceptable."
        challenge = {"WWW-Authenticate": f'HMAC-SHA256 header="{SIGNATURE_HEADER}"'}
        raise RequestError(401, "unauthorized", message, headers=challenge)
    return signature


def _signature_key(state: WorkflowState, signature: str) -> RequestKey:
    """Make a signature the key of its run: the same call again is the same signature."""
    scope = f"{state.tenant}\nwebhook-signature\n{state.workflow_id}"
    return RequestKey(scope, signature, signature)


def _headers(call: Call) -> dict[str, str]:
    """Return the headers as the trigger shows them: without credentials and signatures."""
    return {
        name: value.decode("latin-1")
        for raw, value in sorted(call.headers.items())
        if not is_credential_name(name := raw.decode("latin-1"))
    }
