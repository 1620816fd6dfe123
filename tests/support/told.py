"""A subscriber that is told of events: answers by a script and keeps what it was sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from refold.engine.caller import Caller
from refold.engine.egress import EgressRules
from refold.engine.outbound import OutboundError, OutboundResponse
from refold.engine.sealing import Sealer
from refold.engine.subscriber import signature
from refold.engine.subscriptions import NewSubscription, Subscriptions
from refold.journal import events as e
from refold.journal import ids
from refold.journal.actors import Pseudonyms
from refold.journal.journal import Commit, Metadata, NewEvent, StreamWrite
from refold.projections.subscriptions_projection import (
    LIVE_SUBSCRIPTIONS,
    SubscriptionRow,
    SubscriptionsProjection,
    subscription_row,
)
from tests.support.projection_kit import generation_of, run_commits
from tests.support.simulated_journal import SeededIds, SimulatedJournal
from tests.support.virtual_time import VirtualClock

ADA = Caller("acme", "ada", "request-1")
URL = "https://ears.test/refold"
WORKFLOW = f"fl_{'a' * 26}"


@dataclass
class Sent:
    """One request as the subscriber got it."""

    at_us: int
    events: list[dict[str, Any]]
    is_signed: bool
    status: int | str

    @property
    def sequences(self) -> list[int]:
        """The positions of its events."""
        return [int(event["sequence"]) for event in self.events]


@dataclass
class Ears:
    """What stands at the other end; `judge` returns a status, or the code of a failed call."""

    judge: Callable[[list[dict[str, Any]]], int | str] = lambda events: 200 if events else 400
    seconds: float = 0.05
    secret: str = ""
    sent: list[Sent] = field(default_factory=list[Sent])
    clock: VirtualClock | None = None
    on_wire: int = 0
    most_on_wire: int = 0

    async def request(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        body: bytes | None,
        timeout_s: float,
        /,
    ) -> OutboundResponse:
        """Take one batch."""
        del timeout_s
        assert (method, url, self.clock is not None) == ("POST", URL, True)
        assert self.clock is not None
        named = dict(headers)
        at, id_ = self.clock.now_us(), named["webhook-id"]
        self.on_wire += 1
        self.most_on_wire = max(self.on_wire, self.most_on_wire)
        try:
            await asyncio.sleep(self.seconds / 2)
            events = json.loads(body or b"[]")
            good = signature(self.secret, id_, int(named["webhook-timestamp"]), body or b"")
            status = self.judge(events)
            self.sent.append(Sent(at, events, named["webhook-signature"] == good, status))
            # The answer is on its way, and a crash meanwhile leaves it unheard.
            await asyncio.sleep(self.seconds / 2)
        finally:
            self.on_wire -= 1
        if isinstance(status, str):
            raise OutboundError(status, "No answer came.")
        return OutboundResponse(status, "", {}, b"")

    @property
    def taken(self) -> list[int]:
        """The positions that were taken, in the order in which they were."""
        return [at for sent in self.sent if sent.status == 200 for at in sent.sequences]


class Told:
    """A journal and its subscriptions. To be made on a running `VirtualLoop`."""

    def __init__(self, ears: Ears, *, since: Told | None = None) -> None:
        """`since` is the service that this one finds the journal of."""
        self.ears = ears
        self.clock: VirtualClock = since.clock if since else VirtualClock()
        ears.clock = self.clock
        random = Random(1)
        self.journal: SimulatedJournal = (
            since.journal if since else SimulatedJournal(self.clock, random, 0)
        )
        self.view_faults: list[Exception] = []
        """What the next looks at the views raise."""
        self.ids: SeededIds = since.ids if since else SeededIds(self.clock, random)
        self.subscriptions = Subscriptions(
            self.journal,
            self.clock,
            self.ids,
            Pseudonyms(b"k" * 32),
            Sealer(b"k" * 32),
            ears,
            EgressRules(),
            self._rows,
        )

    async def kill(self) -> None:
        """End everything as a crash would: nothing more is noted."""
        for task in asyncio.all_tasks():
            if task.get_name().startswith("sub_"):
                task.cancel()
        await self.subscriptions.stop(0)

    async def _rows(self, tenant: str | None) -> list[SubscriptionRow]:
        if self.view_faults:
            raise self.view_faults.pop(0)
        events = await self.journal.read_all(0, 100_000)
        with generation_of(SubscriptionsProjection(), events) as connection:
            rows = [subscription_row(row) for row in connection.execute(LIVE_SUBSCRIPTIONS)]
        return [row for row in rows if tenant in (None, row.tenant)]

    async def subscribe(self, caller: Caller = ADA, **wanted: Any) -> str:
        """Begin a subscription and return its id."""
        defaults: dict[str, Any] = {"types": (), "workflow": "", "position": 0, "with_bodies": True}
        new = NewSubscription(URL, **{**defaults, **wanted})
        created = await self.subscriptions.create(caller, new, None)
        self.ears.secret = created.secret
        return created.row.subscription_id

    async def row(self, subscription: str) -> SubscriptionRow:
        """Return a subscription as it stands."""
        return await self.subscriptions.find("acme", subscription)

    async def run(self, workflow: str = WORKFLOW, tenant: str = "acme") -> str:
        """Add a run of five events in two commits and return its id."""
        run = self.ids.new(ids.RUN)
        for commit in run_commits(run, workflow, tenant=tenant):
            await self.journal.append(commit)
        return run

    async def note(
        self, stream: str, version: int, count: int = 1, tenant: str = "acme", body: bytes = b"{}"
    ) -> None:
        """Add events to a run's stream, in one commit."""
        facts = e.RunCancelRequested(code="cancelled")
        events = [NewEvent(self.ids.new(), facts, body) for _ in range(count)]
        meta = Metadata(tenant, "", "request-1")
        await self.journal.append(Commit([StreamWrite(stream, version, events, meta)]))

    async def positions(self, stream: str = "", tenant: str = "acme") -> list[int]:
        """Return where a tenant's events stand, subscriptions apart."""
        return [
            x.position
            for x in await self.journal.read_all(0, 100_000)
            if x.tenant == tenant
            and x.stream.startswith(stream or "fl_")
            and not x.stream.startswith("sub_")
        ]


@asynccontextmanager
async def told(ears: Ears, since: Told | None = None) -> AsyncGenerator[Told]:
    """Serve subscriptions until the block ends."""
    made = Told(ears, since=since)
    made.subscriptions.start()
    try:
        yield made
    finally:
        await made.subscriptions.stop(60)
