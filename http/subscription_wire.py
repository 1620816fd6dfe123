"""The published types of subscriptions. A secret is shown once, by the answer that made it."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from .wire import Time

SubscriptionId = Annotated[str, Meta(pattern="^sub_[0-9a-z]{26}$")]


class SubscriptionCreate(Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to tell of which events."""

    url: Annotated[
        str,
        Meta(min_length=1, max_length=2000, description="Where batches of CloudEvents are sent."),
    ]
    types: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=64)]],
        Meta(max_length=64, description="Only these types of events, such as `run.failed`."),
    ] = []
    workflow_id: (
        Annotated[str, Meta(max_length=64, description="Only this workflow and its runs.")] | None
    ) = None
    after: (
        Annotated[
            int,
            Meta(
                ge=0,
                le=9007199254740991,
                description="From the events after this position on; left out, from now on.",
            ),
        ]
        | None
    ) = None
    include_bodies: Annotated[
        bool,
        Meta(description="Whether inputs, outputs, error texts and definitions are sent too."),
    ] = False


class ParkedDelivery(Struct, frozen=True):
    """What is not sent any more until a replay."""

    stream: Annotated[str | None, Meta(description="A run or workflow; null for everything.")]
    position: Annotated[int, Meta(description="The first event that was not taken.")]
    code: Annotated[str, Meta(description="What the last try came to, such as `http_400`.")]


class Subscription(Struct, frozen=True):
    """A subscription, without its secret."""

    id: SubscriptionId
    url: str
    types: list[str]
    workflow_id: str | None
    include_bodies: bool
    status: Annotated[
        Literal["active", "partly_parked", "parked"],
        Meta(description="Parked is what is sent no more until somebody asks for a replay."),
    ]
    position: Annotated[
        int, Meta(description="Everything up to it was taken, but for what is parked or owed.")
    ]
    parked: list[ParkedDelivery]
    created_at: Time


class NewSubscription(Struct, frozen=True):
    """A subscription that was just made."""

    id: SubscriptionId
    url: str
    types: list[str]
    workflow_id: str | None
    include_bodies: bool
    status: Literal["active", "partly_parked", "parked"]
    position: int
    parked: list[ParkedDelivery]
    created_at: Time
    secret: Annotated[
        str | UnsetType | None,
        Meta(description="Signs what is sent; shown by this answer alone, null in a repeat."),
    ] = UNSET
