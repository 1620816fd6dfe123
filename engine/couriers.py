"""The couriers of all subscriptions: begun and ended as the journal says, and begun anew on faults.

Who is told follows from the journal's own feed, not from what a request still gets to do: one
that is cut off after its commit leaves neither a subscription without a courier nor the reverse.
A subscriber that wants nothing of a commit, such as another tenant's, costs it next to nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from ..journal import events as e
from ..journal.clock import Clock, IdSource
from ..journal.envelope import Recorded
from ..journal.errors import JournalError
from ..journal.journal import Journal, Metadata
from ..projections.errors import ProjectionError
from ..projections.subscriptions_projection import SubscriptionRow, first_row
from .courier import NOTE_AFTER, Courier
from .errors import BusyError, NotFoundError
from .fault_text import fault_text
from .inflow import Wanted
from .subscriber import Subscriber

RESTART_SECONDS: Final = 5.0
BEGIN_SECONDS_MAX: Final = 2.0
"""How long a replay waits for a subscription that is just beginning."""
_log = logging.getLogger("refold.subscriptions")

ListRows = Callable[[str | None], Awaitable[list[SubscriptionRow]]]
"""Lists the subscriptions of a tenant, or of all, as of now."""
Opens = Callable[[SubscriptionRow], Awaitable[tuple[Subscriber, Wanted] | None]]
"""Returns whom to tell of what, None where that was erased."""


class _Told:
    """One subscription that is told."""

    def __init__(self) -> None:
        self.courier: Courier | None = None
        self.task: asyncio.Task[None] | None = None
        self.begun = asyncio.Event()
        """Set while there is a courier."""


class Couriers:
    """Begins and ends couriers."""

    def __init__(
        self, journal: Journal, clock: Clock, ids: IdSource, rows: ListRows, opens: Opens
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._ids = ids
        self._rows = rows
        self._opens = opens
        self._told: dict[str, _Told] = {}
        self._by_tenant: defaultdict[str, dict[str, Courier]] = defaultdict(dict)
        self._looked_up_at = journal.head
        self._starting: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._unsubscribe = journal.subscribe(self._follow)

    @property
    def count(self) -> dict[str, int]:
        """How many subscriptions are told, by how it goes; `interrupted` rest after a fault."""
        counts = {"active": 0, "partly_parked": 0, "parked": 0, "interrupted": 0}
        for told in self._told.values():
            if told.courier is None:
                counts["interrupted"] += 1
            elif told.courier.is_whole_parked:
                counts["parked"] += 1
            else:
                counts["partly_parked" if told.courier.parked_total else "active"] += 1
        return counts

    def start(self) -> None:
        """Go on telling everybody, as soon as the views know who that is."""
        self._starting = asyncio.create_task(self._start(), name="subscriptions")

    async def stop(self, seconds: float) -> None:
        """Send nothing new, and give what is on the wire some seconds."""
        self._is_stopping = True
        self._unsubscribe()
        if self._starting is not None:
            self._starting.cancel()
        tasks: list[asyncio.Task[None]] = []
        for told in self._told.values():
            assert told.task is not None, "it is made with its task"
            tasks.append(told.task)
            if told.courier is not None:
                told.courier.stop()
            else:
                told.task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def replay(self, subscription_id: str, meta: Metadata, body: bytes) -> None:
        """Send again what was parked of a subscription; returns once that is durable.

        Raises:
            BusyError: it is told nothing now, and why.
        """
        told = self._told.get(subscription_id)
        try:
            async with asyncio.timeout(BEGIN_SECONDS_MAX):
                while told is not None and told.courier is None:
                    await told.begun.wait()
        except TimeoutError:
            pass
        if told is None or told.courier is None:
            raise BusyError("The subscription is not being told anything now; try again later.")
        await told.courier.replay(meta, body)

    async def _start(self) -> None:
        while True:
            try:
                rows = await self._rows(None)
            except Exception as error:
                _log.warning("nobody is told of events yet: %s", _words(error))
                await asyncio.sleep(RESTART_SECONDS)
                continue
            for row in rows:
                self._begin(row)
            return

    def _begin(self, row: SubscriptionRow) -> None:
        id_ = row.subscription_id
        if self._is_stopping or id_ in self._told:
            return
        told = self._told[id_] = _Told()
        told.task = asyncio.create_task(self._keep_telling(told, row), name=id_)

    def _end(self, subscription_id: str) -> None:
        told = self._told.pop(subscription_id, None)
        if told is not None and told.task is not None:
            told.task.cancel()

    async def _keep_telling(self, told: _Told, row: SubscriptionRow) -> None:
        """Tell a subscriber until it is deleted, whatever goes wrong in between."""
        id_ = row.subscription_id
        is_new = True
        try:
            while not self._is_stopping:
                try:
                    if not is_new:
                        row = await self._row(row.tenant, id_)
                    is_new = False
                    await self._tell(told, row)
                    return
                except NotFoundError:
                    return
                except Exception as error:
                    _log.warning("subscription %s begins anew: %s", id_, _words(error))
                await asyncio.sleep(RESTART_SECONDS)
        finally:
            self._told.pop(id_, None)

    async def _tell(self, told: _Told, row: SubscriptionRow) -> None:
        """Tell a subscriber until it is deleted or something goes wrong."""
        id_ = row.subscription_id
        opened = await self._opens(row)
        if opened is None:
            _log.warning("subscription %s is erased: nobody is told", id_)
            return
        subscriber, wanted = opened
        # From here to where it is known to `_follow` nothing waits, so that it misses nothing.
        courier = Courier(self._journal, self._clock, self._ids, row, wanted, subscriber)
        told.courier = self._by_tenant[row.tenant][id_] = courier
        told.begun.set()
        try:
            if self._is_stopping:
                courier.stop()
            await courier.run()
        finally:
            told.courier = None
            told.begun.clear()
            del self._by_tenant[row.tenant][id_]
            if not self._by_tenant[row.tenant]:
                del self._by_tenant[row.tenant]

    async def _row(self, tenant: str, subscription_id: str) -> SubscriptionRow:
        rows = await self._rows(tenant)
        found = next((row for row in rows if row.subscription_id == subscription_id), None)
        if found is None:
            raise NotFoundError("subscription")
        return found

    def _follow(self, events: Sequence[Recorded]) -> None:
        """Begin, end and tell couriers as what has just become durable demands."""
        concerned: dict[str, list[Recorded]] = {}
        for event in events:
            if event.tenant in self._by_tenant:
                concerned.setdefault(event.tenant, []).append(event)
            if isinstance(event.facts, e.SubscriptionDefined):
                self._begin(first_row(event, event.facts))
            elif isinstance(event.facts, e.SubscriptionDeleted):
                self._end(event.stream)
        for tenant, own in concerned.items():
            for courier in self._by_tenant[tenant].values():
                courier.offer(own)
        if events[-1].position - self._looked_up_at >= NOTE_AFTER:
            self._looked_up_at = events[-1].position
            for couriers in self._by_tenant.values():
                for courier in couriers.values():
                    courier.look_up()


def _words(error: Exception) -> str:
    """Tell an error of ours by its words, and a fault by its kind and place alone."""
    return str(error) if isinstance(error, (JournalError, ProjectionError)) else fault_text(error)
