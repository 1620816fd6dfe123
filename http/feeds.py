"""The open feeds of the journal: how many a tenant has, and the newest events, held for all."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Final

from ..journal.envelope import Recorded
from ..journal.journal import Journal

RECENT_MAX: Final = 2048
"""Events that are kept while a feed is open; whoever is further behind reads the journal."""


class TooManyFeedsError(Exception):
    """The tenant has as many feeds open as it may."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"There are {limit} open feeds already; close one, or try again later.")


class Feeds:
    """What the feeds share. Nothing here waits, so that no reader slows the writer."""

    def __init__(self, journal: Journal, tenant_max: int, stall_s: float) -> None:
        self._journal = journal
        self._tenant_max = tenant_max
        self._open: Counter[str] = Counter()
        self._recent: deque[Recorded] = deque(maxlen=RECENT_MAX)
        self._unsubscribe: Callable[[], None] | None = None
        self.stall_s = stall_s
        """How long a reader may take nothing before it is dropped, in seconds."""

    def refuse_full(self, tenant: str) -> None:
        """Refuse a feed more.

        Raises:
            TooManyFeedsError: the tenant has its number.
        """
        if self._open[tenant] >= self._tenant_max:
            raise TooManyFeedsError(self._tenant_max)

    @contextmanager
    def opened(self, tenant: str) -> Generator[None]:
        """Count a feed while it lasts.

        Raises:
            TooManyFeedsError: the tenant has its number.
        """
        self.refuse_full(tenant)
        if self._unsubscribe is None:
            self._unsubscribe = self._journal.subscribe(self._recent.extend)
        self._open[tenant] += 1
        try:
            yield
        finally:
            self._open[tenant] -= 1
            self._open += Counter()  # drops those without any
            if not self._open and self._unsubscribe is not None:
                self._unsubscribe()
                self._unsubscribe = None
                self._recent.clear()

    async def after(self, position: int, limit: int) -> Sequence[Recorded]:
        """Return the events after a position: the newest from memory, where one read serves all."""
        recent = self._recent
        if recent and recent[0].position <= position + 1:
            start = position + 1 - recent[0].position
            return list(islice(recent, start, start + limit))
        return await self._journal.read_all(position, limit)
