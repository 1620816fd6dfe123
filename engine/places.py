"""Places for what is on the wire: bounded in all, and nobody who hangs takes them all.

A key is a tenant, or a subscription. The last part of the places is for keys that have few: calls
to addresses that never answer fill what everybody may have, and others still find a place at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from ..journal.fair_queue import FairQueue


class Places:
    """Hands out places, in turn among those who wait."""

    def __init__(self, total_max: int, *, kept: int, few: int) -> None:
        """Of `total_max` places the last `kept` are for keys that have fewer than `few`."""
        self._total_max = total_max
        self._kept = kept
        self._few = few
        self._open: Counter[str] = Counter()
        self.open_total = 0
        """How many places are taken."""
        self._waiting: FairQueue[tuple[str, asyncio.Future[None]]] = FairQueue()

    @property
    def waiting_total(self) -> int:
        """How many wait for a place."""
        return len(self._waiting)

    def _may(self, key: str) -> bool:
        free = self._total_max - self.open_total
        return free > self._kept or (free > 0 and self._open[key] < self._few)

    @asynccontextmanager
    async def place(self, key: str) -> AsyncGenerator[None]:
        """Hold a place for the length of a block; waits until there is one."""
        if self._may(key) and not self._waiting.count(key):
            self._enter(key)
        else:
            await self._wait(key)
        try:
            yield
        finally:
            self._leave(key)

    async def _wait(self, key: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put(key, (key, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # It was given a place just before it was cancelled.
                self._leave(key)
            raise

    def _enter(self, key: str) -> None:
        self._open[key] += 1
        self.open_total += 1

    def _leave(self, key: str) -> None:
        self.open_total -= 1
        self._open[key] -= 1
        if not self._open[key]:
            del self._open[key]
        while (following := self._waiting.take_if(self._may)) is not None:
            key, turn = following
            if not turn.done():
                self._enter(key)
                turn.set_result(None)
