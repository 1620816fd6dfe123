"""Subscriptions: who is told of events, and the couriers that tell them.

A subscription is a stream `sub_…`; how far its subscriber has come stands in it, so that it is
as safe as everything else. It belongs to one tenant, and another tenant's looks exactly like none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from ..journal import events as e
from ..journal.actors import Pseudonyms
from ..journal.clock import Clock, IdSource
from ..journal.envelope import Recorded
from ..journal.errors import ConflictError, JournalError
from ..journal.journal import Commit, Journal, NewEvent, RequestKey, StreamWrite
from ..projections.errors import ProjectionError
from ..projections.subscriptions_projection import SubscriptionRow, first_row
from .caller import Caller
from .calls import Outbound
from .courier import Courier
from .egress import EgressRules, OutboundError, parse_target
from .errors import BusyError, InvalidError, NotFoundError, StateError
from .inflow import PREFIX, Wanted
from .sealing import Sealer
from .subscriber import Subscriber, new_secret
from .workflows import until_no_conflict

PER_TENANT_MAX: Final = 50
_ERASED: Final = "(erased)"
_RESTART_SECONDS: Final = 5.0
_encode = msgspec.json.Encoder().encode
_log = logging.getLogger("refold.subscriptions")


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


_decode_body = msgspec.json.Decoder(SubscriptionBody).decode
ListRows = Callable[[str | None], Awaitable[list[SubscriptionRow]]]
"""Lists the subscriptions of a tenant, or of all, as of now."""


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
        self._clock = clock
        self._ids = ids
        self._pseudonyms = pseudonyms
        self._sealer = sealer
        self._outbound = outbound
        self._rules = rules
        self._rows = rows
        self._couriers: dict[str, Courier] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._starting: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._unsubscribe = journal.subscribe(self._tell)

    # What clients do

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
        event = NewEvent(self._ids.new(), facts, _encode(body))
        meta = caller.metadata(self._pseudonyms)
        appended = await self._journal.append(
            Commit([StreamWrite(stream, 0, [event], meta)], request=request)
        )
        first = appended.events[0]
        assert isinstance(first.facts, e.SubscriptionDefined), "what was appended"
        row = first_row(first, first.facts)
        if appended.repeated:
            return Created(row, "", is_repeated=True)
        await self._begin(row)
        return Created(row, secret, is_repeated=False)

    async def delete(self, caller: Caller, subscription_id: str) -> None:
        """End a subscription; what is on the wire may still arrive.

        Raises:
            NotFoundError: there is none.
        """
        await self.find(caller.tenant, subscription_id)
        await self._end(subscription_id)
        body, meta = _encode({"by": caller.subject}), caller.metadata(self._pseudonyms)

        async def attempt() -> None:
            row = await self.find(caller.tenant, subscription_id)
            event = NewEvent(self._ids.new(), e.SubscriptionDeleted(), body)
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
        courier = self._couriers.get(subscription_id)
        if courier is None:
            raise BusyError("The subscription is not being told anything now; try again later.")
        body = _encode({"by": caller.subject})
        try:
            await courier.replay(caller.metadata(self._pseudonyms), body)
        except ConflictError:
            raise NotFoundError("subscription") from None

    def _check(self, wanted: NewSubscription) -> None:
        errors: dict[str, list[str]] = {}
        try:
            target = parse_target(wanted.url)
            refusal = target.address and self._rules.refusal(target.host, target.address)
            if refusal:
                errors["url"] = [refusal]
        except OutboundError as error:
            errors["url"] = [error.message]
        known = {facts.type for facts in e.CATALOGUE}
        for index, type_ in enumerate(wanted.types):
            if type_ not in known:
                errors[f"types[{index}]"] = ["there is no such type of event"]
        if wanted.position is not None and wanted.position > self._journal.head:
            errors["after"] = [f"the journal ends at position {self._journal.head}"]
        if errors:
            raise InvalidError("The subscription can't be made.", errors)

    # The couriers

    def start(self) -> None:
        """Go on telling everybody, as soon as the views know who that is."""
        self._starting = asyncio.create_task(self._start(), name="subscriptions")

    async def _start(self) -> None:
        while True:
            try:
                rows = await self._rows(None)
            except ProjectionError as error:
                _log.info("nobody is told of events yet: %s", error)
                await asyncio.sleep(_RESTART_SECONDS)
                continue
            for row in rows:
                await self._begin(row)
            return

    async def stop(self, seconds: float) -> None:
        """Send nothing new, and give what is on the wire some seconds."""
        self._is_stopping = True
        self._unsubscribe()
        if self._starting is not None:
            self._starting.cancel()
        for courier in self._couriers.values():
            courier.stop()
        tasks = list(self._tasks.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _begin(self, row: SubscriptionRow) -> None:
        if self._is_stopping or row.subscription_id in self._couriers:
            return
        (body,) = await self.bodies([row])
        if not body.secret:
            _log.warning("subscription %s is erased: nobody is told", row.subscription_id)
            return
        secret = self._sealer.open(row.subscription_id, body.secret)
        wanted = Wanted(frozenset(row.types), row.workflow, body.with_bodies)
        subscriber = Subscriber(self._outbound, body.url, secret)
        courier = Courier(self._journal, self._clock, self._ids, row, wanted, subscriber)
        self._couriers[row.subscription_id] = courier
        self._tasks[row.subscription_id] = asyncio.create_task(
            self._run(row, courier), name=row.subscription_id
        )

    async def _run(self, row: SubscriptionRow, courier: Courier) -> None:
        id_ = row.subscription_id
        try:
            await courier.run()
        except JournalError as error:
            _log.warning("subscription %s begins anew: %s", id_, error)
            self._couriers.pop(id_, None)
            await asyncio.sleep(_RESTART_SECONDS)
            self._tasks.pop(id_, None)
            await self._begin(await self.find(row.tenant, id_))
        finally:
            # Not where another courier has taken over.
            if self._couriers.get(id_) is courier:
                del self._couriers[id_], self._tasks[id_]

    async def _end(self, subscription_id: str) -> None:
        task = self._tasks.pop(subscription_id, None)
        self._couriers.pop(subscription_id, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _tell(self, events: Sequence[Recorded]) -> None:
        for courier in self._couriers.values():
            courier.offer(events)
