"""What comes in: who is served next, and what is refused before any work is done for it.

A request that may be served takes a turn among the tenants (`Turns`). Who waits for one has not
been read yet but for its head, and is bounded: in all, and for each tenant. What bodies hold in
memory, and answers that are sent part by part, are bounded in the same two ways.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from typing import Final

import msgspec

from ..engine.errors import BusyError, TooManyError
from ..engine.rates import Rates
from ..engine.turns import Turns

SHARE: Final = 2
"""One tenant gets at most this part (a half) of what bodies and streams may take."""
_WEBHOOKS_MAX: Final = 10_000


class IntakeLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much may come in."""

    waiting_max: int = 4000
    """Requests that wait for a turn."""
    waiting_per_tenant_max: int = 1000
    requests_per_second: int = 0
    """Of one tenant; 0 is no limit."""
    body_bytes_max: int = 64 * 1024 * 1024
    """What the bodies of all requests that are being served may have together."""
    streams_max: int = 2000
    """Answers that are sent part by part."""


class Intake:
    """Lets requests in, tenant after tenant."""

    def __init__(self, turns: Turns, limits: IntakeLimits) -> None:
        self._turns = turns
        self.limits: Final = limits
        self._rates = Rates(limits.requests_per_second)
        self._waiting: Counter[str] = Counter()
        self.waiting_total = 0
        """How many requests wait for a turn."""
        self._bytes: Counter[str] = Counter()
        self.bytes_total = 0
        """What the bodies of the requests that are being served have in bytes."""
        self._streams: Counter[str] = Counter()
        self.streams_total = 0
        self._webhooks: OrderedDict[str, str] = OrderedDict()
        self.is_stopping = False
        """Set when the service is asked to stop: it still serves, and says that it will not."""

    @property
    def is_full(self) -> bool:
        """True while everybody is refused."""
        return self.waiting_total >= self.limits.waiting_max

    def enter(self, tenant: str) -> asyncio.Future[None] | None:
        """Ask for a turn: None where there is one at once, else what `wait` is to be given.

        Raises:
            TooManyError: the tenant asks too often, or has too many requests waiting.
            BusyError: too many requests wait.
        """
        if self._rates.is_limited:
            wait_s = self._rates.take(tenant, time.monotonic_ns() // 1000)
            if wait_s:
                raise TooManyError("You ask more often than you may; try again later.", wait_s)
        if not self._turns.is_free:
            if self._waiting[tenant] >= self.limits.waiting_per_tenant_max:
                raise TooManyError("Too many of your requests are waiting; try again later.")
            if self.is_full:
                raise BusyError("Too many requests are waiting; try again later.")
        return self._turns.take(tenant)

    async def wait(self, tenant: str, turn: asyncio.Future[None]) -> None:
        """Wait for a turn."""
        self._waiting[tenant] += 1
        self.waiting_total += 1
        try:
            await turn
        finally:
            self.waiting_total -= 1
            _less(self._waiting, tenant, 1)

    def hold(self, tenant: str, size: int) -> None:
        """Take in a part of a body.

        Raises:
            TooManyError, BusyError: there is no room for it, the tenant's or at all.
        """
        held = self._bytes[tenant]
        if held and (held + size) * SHARE > self.limits.body_bytes_max:
            raise TooManyError("Your requests have too many bytes at a time; try again later.")
        if self.bytes_total and self.bytes_total + size > self.limits.body_bytes_max:
            raise BusyError("The requests have too many bytes at a time; try again later.")
        self._bytes[tenant] = held + size
        self.bytes_total += size

    def let_go(self, tenant: str, size: int) -> None:
        """Give back what `hold` took."""
        self.bytes_total -= size
        _less(self._bytes, tenant, size)

    def open_stream(self, tenant: str) -> None:
        """Count an answer that is sent part by part.

        Raises:
            TooManyError, BusyError: there are as many as there may be.
        """
        if self._streams[tenant] * SHARE >= self.limits.streams_max:
            raise TooManyError("You have too many open streams; close one, or try again later.")
        if self.streams_total >= self.limits.streams_max:
            raise BusyError("Too many streams are open; try again later.")
        self._streams[tenant] += 1
        self.streams_total += 1

    def close_stream(self, tenant: str) -> None:
        """Count it no more."""
        self.streams_total -= 1
        _less(self._streams, tenant, 1)

    def tenant_of(self, token: str) -> str:
        """Return whose webhook a token was when it was last used, "" if it never was.

        All tokens that are not known share one turn among the tenants', so that guessing them
        costs nobody else anything.
        """
        return self._webhooks.get(token, "")

    def learn(self, token: str, tenant: str) -> None:
        """Remember whose webhook a token is."""
        self._webhooks[token] = tenant
        self._webhooks.move_to_end(token)
        if len(self._webhooks) > _WEBHOOKS_MAX:
            self._webhooks.popitem(last=False)


def _less(counter: Counter[str], key: str, count: int) -> None:
    counter[key] -= count
    if not counter[key]:
        del counter[key]
