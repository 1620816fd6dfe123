"""Subscriptions: who is told of events, as clients make, read, replay and delete them.

A subscription is a stream `sub_…`; how far its subscriber has come stands in it, so that it is
as safe as everything else. It belongs to one tenant, and another tenant's looks exactly like none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import msgspec

from ..journal import events as e
from ..journal.actors import Pseudonyms
from ..journal.clock import Clock, IdSource
from ..journal.journal import Appended, Commit, Journal, NewEvent, RequestKey, StreamWrite
from ..projections.subscriptions_projection import SubscriptionRow, first_row
from .caller import Caller
from .calls import Outbound
from .couriers import Couriers, ListRows
from .egress import EgressRules, OutboundError, parse_target
from .errors import BusyError, InvalidError, NotFoundError, StateError
from .inflow import PREFIX, Wanted
from .outbound import CONNECTIONS_MAX
from .places import Places
from .sealing import Sealer
from .subscriber import Subscriber, new_secret
from .workflows import until_no_conflict

PER_TENANT_MAX: Final = 50
_ERASED: Final = "(erased)"
_encode = msgspec.json.Encoder().encode


class SubscriptionBody(msgspec.Struct, frozen=True):
    """The body of `subscription.defined`."""

    by: str
    url: str
    secret: str
    """Sealed under the subscription's id."""
    with_bodies: bool


class NewSubscription(msgspec.Struct, frozen=True):
    """What a client asks for."""

    url: str
    types: Sequence[str]
    workflow: str
    position: int | None
    """It is told of what comes after it; None for from now on."""
    with_bodies: bool


class Created(msgspec.Struct, frozen=True):
    """A subscription that was just made, or by an earlier call of the same request."""

    row: SubscriptionRow
    secret: str
    """It is shown once: "" in a repeat."""
    is_repeated: bool

    def __repr__(self) -> str:
        """Say which one it is, and nothing of its secret."""
        return f"Created({self.row.subscription_id})"

    def __rich_repr__(self) -> Any:
        """Keep rich from reading the fields past `__repr__`."""
        yield self.row.subscription_id


_decode_body = msgspec.json.Decoder(SubscriptionBody).decode


class Subscriptions:
    """All subscriptions of the service."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        ids: IdSource,
        pseudonyms: Pseudonyms,
        sealer: Sealer,
        outbound: Outbound,
        rules: EgressRules,
        rows: ListRows,
    ) -> None:
        """`outbound` must follow no redirect; `rules` are its rules."""
        self._journal = journal
        self._ids = ids
        self._pseudonyms = pseudonyms
        self._sealer = sealer
        self._outbound = outbound
        self._rules = rules
        self._rows = rows
        self._creating = asyncio.Lock()
        self._places = Places(CONNECTIONS_MAX, kept=CONNECTIONS_MAX // 2, few=1)
        self._couriers = Couriers(journal, clock, ids, rows, self._open)

    def start(self) -> None:
        """Go on telling everybody, as soon as the views know who that is."""
        self._couriers.start()

    async def stop(self, seconds: float) -> None:
        """Send nothing new, and give what is on the wire some seconds."""
        await self._couriers.stop(seconds)

    @property
    def count(self) -> dict[str, int]:
        """How many subscriptions there are, by how it goes with them (see `Couriers`)."""
        return self._couriers.count

    async def list_all(self, tenant: str) -> list[SubscriptionRow]:
        """Return a tenant's subscriptions, oldest first."""
        return await self._rows(tenant)

    async def find(self, tenant: str, subscription_id: str) -> SubscriptionRow:
        """Return one subscription as it stands.

        Raises:
            NotFoundError: there is none; another tenant's looks the same.
        """
        rows = await self._rows(tenant)
        found = next((row for row in rows if row.subscription_id == subscription_id), None)
        if found is None:
            raise NotFoundError("subscription")
        return found

    async def bodies(self, rows: Sequence[SubscriptionRow]) -> list[SubscriptionBody]:
        """Return what was asked for; of an erased body only that it was erased."""
        found = await self._journal.read_bodies([row.body_at for row in rows])
        return [
            _decode_body(found[row.body_at].data)
            if row.body_at in found
            else SubscriptionBody(_ERASED, _ERASED, "", with_bodies=False)
            for row in rows
        ]

    async def create(
        self, caller: Caller, wanted: NewSubscription, request: RequestKey | None
    ) -> Created:
        """Begin a subscription.

        Raises:
            InvalidError: it could never be told anything, and why.
            StateError: `subscriptions_full`, the tenant has as many as it may have.
        """
        # One at a time, so that what is counted is still so when the commit is made.
        async with self._creating:
            if request is not None and (earlier := await self._journal.requested(request)):
                return _created(earlier, "")
            self._check(wanted)
            if len(await self._rows(caller.tenant)) >= PER_TENANT_MAX:
                raise StateError(
                    "subscriptions_full", f"A tenant has at most {PER_TENANT_MAX} subscriptions."
                )
            stream, secret = self._ids.new(PREFIX), new_secret()
            position = self._journal.head if wanted.position is None else wanted.position
            facts = e.SubscriptionDefined(
                idempotency_digest=request.digest if request else "",
                idempotency_key=request.key if request else "",
                idempotency_scope=request.scope if request else "",
                position=position,
                types=" ".join(sorted(set(wanted.types))),
                workflow=wanted.workflow,
            )
            sealed = self._sealer.seal(stream, secret)
            body = SubscriptionBody(caller.subject, wanted.url, sealed, wanted.with_bodies)
            meta = caller.metadata(self._pseudonyms)
            event = NewEvent(self._ids.new(), facts, _encode(body), meta.actor)
            write = StreamWrite(stream, 0, [event], meta)
            appended = await self._journal.append(Commit([write], request=request))
            return _created(appended, secret)

    async def delete(self, caller: Caller, subscription_id: str) -> None:
        """End a subscription; what is on the wire may still arrive.

        Raises:
            NotFoundError: there is none.
        """
        body, meta = _encode({"by": caller.subject}), caller.metadata(self._pseudonyms)

        async def attempt() -> None:
            row = await self.find(caller.tenant, subscription_id)
            event = NewEvent(self._ids.new(), e.SubscriptionDeleted(), body, meta.actor)
            write = StreamWrite(subscription_id, row.version, [event], meta)
            await self._journal.append(Commit([write]))

        await until_no_conflict(attempt)

    async def replay(self, caller: Caller, subscription_id: str) -> None:
        """Send again what was parked; returns once that is durable.

        Raises:
            NotFoundError: there is no such subscription.
            BusyError: the service is stopping, or its disk refuses.
        """
        await self.find(caller.tenant, subscription_id)
        meta, body = caller.metadata(self._pseudonyms), _encode({"by": caller.subject})
        try:
            await self._couriers.replay(subscription_id, meta, body)
        except BusyError:
            # It may have been deleted meanwhile.
            await self.find(caller.tenant, subscription_id)
            raise

    def _check(self, wanted: NewSubscription) -> None:
        errors: dict[str, list[str]] = {}
        try:
            target = parse_target(wanted.url)
            refusal = target.address and self._rules.refusal(target.host, target.address)
            if refusal:
                errors["url"] = [refusal]
        except OutboundError as error:
            errors["url"] = [error.message]
        known = {facts.type for facts in e.CATALOGUE if not facts.type.startswith("subscription.")}
        for index, type_ in enumerate(wanted.types):
            if type_ not in known:
                errors[f"types[{index}]"] = ["there is no such type of event"]
        if wanted.position is not None and wanted.position > self._journal.head:
            errors["after"] = [f"the journal ends at position {self._journal.head}"]
        if errors:
            raise InvalidError("The subscription can't be made.", errors)

    async def _open(self, row: SubscriptionRow) -> tuple[Subscriber, Wanted] | None:
        """Return whom to tell of what, None where that was erased."""
        (body,) = await self.bodies([row])
        if not body.secret:
            return None
        secret = self._sealer.open(row.subscription_id, body.secret)
        wanted = Wanted(frozenset(row.types), row.workflow, body.with_bodies)
        place = partial(self._places.place, row.subscription_id)
        return Subscriber(self._outbound, body.url, secret, place), wanted


def _created(appended: Appended, secret: str) -> Created:
    first = appended.events[0]
    assert isinstance(first.facts, e.SubscriptionDefined), "what was appended"
    repeated = appended.repeated
    return Created(first_row(first, first.facts), "" if repeated else secret, is_repeated=repeated)
