"""Turns on the event loop: who computes next, tenant after tenant, so that no flood delays others.

The loop itself serves whoever is ready in the order of arrival. With a thousand requests and
steps of one tenant ready, another's single one would come after all of them, at each of its own
waits anew. So each piece of work takes a turn first: a round of the loop has a few, those beyond
them wait by tenant, and the next round serves the tenants one after the other.

While there is no crowd a turn is a comparison, and nobody waits.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ..journal.fair_queue import FairQueue

TURNS_PER_ROUND: Final = 4
"""How many pieces of work begin in one round of the loop; each takes well under a millisecond."""


class Turns:
    """Hands out turns; used on the event loop's thread alone."""

    def __init__(self, per_round: int = TURNS_PER_ROUND) -> None:
        self._per_round = per_round
        self._left = per_round
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()
        self._is_armed = False

    @property
    def waiting_total(self) -> int:
        """How many pieces of work wait for a turn."""
        return len(self._waiting)

    @property
    def is_free(self) -> bool:
        """Whether whoever asks now has a turn at once."""
        return self._left > 0 and not self._waiting

    def take(self, tenant: str) -> asyncio.Future[None] | None:
        """Take a turn: None where there is one at once, else what has to be awaited before."""
        loop = asyncio.get_running_loop()
        if not self._is_armed:
            self._is_armed = True
            loop.call_soon(self._begin_round)
        if self._left > 0 and not self._waiting:
            self._left -= 1
            return None
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.put(tenant, turn)
        return turn

    def _begin_round(self) -> None:
        """Begin a round: those who wait first, and then whoever comes."""
        left = self._per_round
        while left and self._waiting:
            turn = self._waiting.take()
            # Who was cancelled meanwhile has given its turn up.
            if not turn.done():
                turn.set_result(None)
                left -= 1
        self._left = left
        self._is_armed = left < self._per_round
        if self._is_armed:
            asyncio.get_running_loop().call_soon(self._begin_round)
