"""The endpoints of subscriptions."""

from __future__ import annotations

from typing import Final

from . import subscription_routes as subscriptions
from . import subscription_wire as wire
from .endpoint import KEY, Endpoint

SUBSCRIPTION_ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/subscriptions",
        handler=subscriptions.list_all,
        summary="List who is told of events, and how far they have come",
        scope="journal:read",
        answers={200: list[wire.Subscription]},
    ),
    Endpoint(
        method="POST",
        path="/subscriptions",
        handler=subscriptions.create,
        summary="Have events sent to an address, signed, at least once, in order within a run",
        scope="admin",
        request=wire.SubscriptionCreate,
        request_required=True,
        parameters=(KEY,),
        answers={201: wire.NewSubscription},
        refusals=(404, 409, 422),
    ),
    Endpoint(
        method="GET",
        path="/subscriptions/{subscriptionId}",
        handler=subscriptions.get,
        summary="Return one subscription",
        scope="journal:read",
        answers={200: wire.Subscription},
        refusals=(404,),
    ),
    Endpoint(
        method="DELETE",
        path="/subscriptions/{subscriptionId}",
        handler=subscriptions.delete,
        summary="End a subscription",
        scope="admin",
        answers={204: None},
        refusals=(404,),
    ),
    Endpoint(
        method="POST",
        path="/subscriptions/{subscriptionId}/replay",
        handler=subscriptions.replay,
        summary="Send again what was parked",
        scope="admin",
        answers={202: wire.Subscription},
        refusals=(404,),
    ),
)
