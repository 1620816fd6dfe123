"""Wires the subscriptions: the client that they are told by, and their rows in the views."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from ..engine.egress import EgressRules
from ..engine.outbound import OutboundClient
from ..engine.subscriptions import Subscriptions
from ..journal.clock import Clock, IdSource
from ..journal.journal import Journal
from ..projections.subscriptions_projection import (
    LIVE_SUBSCRIPTIONS,
    SUBSCRIPTIONS,
    SubscriptionRow,
    subscription_row,
)
from ..projections.views import Views
from .settings import Settings
from .vault_parts import VaultParts

_ANSWER_BYTES_MAX = 64 * 1024
"""What a subscriber answers beside its status is not looked at, and more of it is not read."""


@asynccontextmanager
async def open_subscriptions(
    settings: Settings,
    journal: Journal,
    views: Views,
    secrets: VaultParts,
    ids: IdSource,
    clock: Clock,
) -> AsyncGenerator[Subscriptions]:
    """Make what routes work with; who is told begins with `Subscriptions.start`."""

    async def rows(tenant: str | None) -> list[SubscriptionRow]:
        await views.wait_for(journal.head)
        found = (
            await views.select(LIVE_SUBSCRIPTIONS, (), of="subscriptions")
            if tenant is None
            else await views.select(SUBSCRIPTIONS, (tenant,), of="subscriptions")
        )
        return [subscription_row(row) for row in found]

    rules = EgressRules.parse(",".join(settings.egress_allow))
    client = OutboundClient(
        rules, redirects_max=0, max_response_bytes=_ANSWER_BYTES_MAX, cuts_responses=True
    )
    made = Subscriptions(
        journal, clock, ids, secrets.pseudonyms, secrets.sealer, client, rules, rows
    )
    try:
        yield made
    finally:
        await made.stop(0)
        await client.close()
