"""Subscriptions: who is told of events, and the replay of what was parked."""

from __future__ import annotations

from typing import Literal

from ..engine.subscriptions import NewSubscription, SubscriptionBody
from ..projections.subscriptions_projection import SubscriptionRow
from . import subscription_wire as wire
from .call import Answer, Call, answer
from .services import App
from .times import to_wire

NO_BODY = Answer(204, b"", ())


async def list_all(app: App, call: Call) -> Answer:
    """List the tenant's subscriptions, oldest first."""
    rows = await app.subscriptions.list_all(call.principal.tenant)
    bodies = await app.subscriptions.bodies(rows)
    return answer(200, [_shown(row, body) for row, body in zip(rows, bodies, strict=True)])


async def create(app: App, call: Call) -> Answer:
    """Begin a subscription."""
    wanted = call.read(wire.SubscriptionCreate, optional=False)
    request = call.idempotency("subscriptions", "", call.json())
    workflow = ""
    if wanted.workflow_id is not None:
        found = await app.workflows.find(call.principal.tenant, wanted.workflow_id)
        workflow = found.workflow_id
    new = NewSubscription(wanted.url, wanted.types, workflow, wanted.after, wanted.include_bodies)
    created = await app.subscriptions.create(call.caller, new, request)
    (body,) = await app.subscriptions.bodies([created.row])
    shown = _shown(created.row, body)
    made = answer(
        201,
        wire.NewSubscription(
            shown.id,
            shown.url,
            shown.types,
            shown.workflow_id,
            shown.include_bodies,
            shown.status,
            shown.position,
            shown.parked,
            shown.created_at,
            created.secret or None,
        ),
    ).with_header("Location", f"/subscriptions/{shown.id}")
    return made.with_header("Idempotency-Replayed", "true") if created.is_repeated else made


async def get(app: App, call: Call) -> Answer:
    """Return a subscription, without its secret."""
    return answer(200, await _find(app, call))


async def delete(app: App, call: Call) -> Answer:
    """End a subscription."""
    await app.subscriptions.delete(call.caller, call.params["subscriptionId"])
    return NO_BODY


async def replay(app: App, call: Call) -> Answer:
    """Send what was parked again, in order."""
    await app.subscriptions.replay(call.caller, call.params["subscriptionId"])
    return answer(202, await _find(app, call))


async def _find(app: App, call: Call) -> wire.Subscription:
    row = await app.subscriptions.find(call.principal.tenant, call.params["subscriptionId"])
    (body,) = await app.subscriptions.bodies([row])
    return _shown(row, body)


def _shown(row: SubscriptionRow, body: SubscriptionBody) -> wire.Subscription:
    status: Literal["active", "partly_parked", "parked"] = "active"
    if row.parked:
        is_whole = any(not parked.stream for parked in row.parked)
        status = "parked" if is_whole else "partly_parked"
    return wire.Subscription(
        row.subscription_id,
        body.url,
        list(row.types),
        row.workflow or None,
        body.with_bodies,
        status,
        row.position,
        [wire.ParkedDelivery(x.stream or None, x.position, x.code) for x in row.parked],
        to_wire(row.created_at),
    )
