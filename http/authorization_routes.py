"""Authorizations: store, list and delete the OAuth 2.0 grants that workflows may use."""

from __future__ import annotations

from ..engine.authorizations import NewAuthorization
from ..engine.oauth import Grant
from ..projections.authorization_state import fold
from ..projections.authorizations_projection import AUTHORIZATIONS, authorization_row
from . import rendering, wire
from .authorization_wire import AuthorizationCreate
from .call import Answer, Call, answer
from .services import App

NO_BODY = Answer(204, b"", ())


async def list_all(app: App, call: Call) -> Answer:
    """List the tenant's grants, oldest first."""
    await app.views.wait_for(app.journal.head)
    found = await app.views.select(AUTHORIZATIONS, (call.principal.tenant,), of="authorizations")
    rows = [authorization_row(row) for row in found]
    bodies = await app.authorizations.read_bodies([row.body_at for row in rows])
    shown: list[wire.Authorization] = [
        rendering.authorization(
            row.authorization_id, row.status, row.created_at, bodies.get(row.body_at)
        )
        for row in rows
    ]
    return answer(200, shown)


async def create(app: App, call: Call) -> Answer:
    """Store a grant."""
    raw = call.json()
    wanted = call.read(AuthorizationCreate, optional=False)
    request = call.idempotency("authorization", "", raw)
    grant = Grant(
        grant_type=wanted.grant_type,
        token_url=wanted.token_url,
        client_id=wanted.client_id,
        client_secret=wanted.client_secret,
        refresh_token=wanted.refresh_token or "",
        scope=wanted.scope or "",
        audience=wanted.audience or "",
        client_auth=wanted.client_auth,
    )
    appended = await app.authorizations.create(
        call.caller, NewAuthorization(wanted.provider, wanted.email, grant), request
    )
    state = fold(appended.events[0].stream, appended.events)
    bodies = await app.authorizations.read_bodies([state.body_at])
    shown = rendering.authorization(
        state.authorization_id, state.status, state.created_at, bodies.get(state.body_at)
    )
    made = answer(200, shown)
    return made.with_header("Idempotency-Replayed", "true") if appended.repeated else made


async def delete(app: App, call: Call) -> Answer:
    """Delete a grant that no workflow names, and the key of its secrets."""
    await app.authorizations.delete(call.caller, call.params["authorizationId"])
    return NO_BODY
