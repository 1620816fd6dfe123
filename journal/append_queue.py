"""What waits for the writer: bounded by count and by bytes, and handed on tenant after tenant.

The writer gets no more at a time than it commits next, so that what comes behind a flood of one
tenant is committed in the next group but one. A tenant that has little there finds room behind a
queue that others have filled, in a reserve that nobody else gets.

All of it is used on the event loop's thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from .fair_queue import FairQueue
from .journal import Commit
from .sqlite_writer import Results, Token

QUEUE_MAX: Final = 4096
"""How many appends may wait at most, the reserve left out."""
QUEUE_BYTES_MAX: Final = 64 * 1024 * 1024
"""How many bytes of bodies may wait with them. A commit that is larger goes by itself."""
_RESERVE: Final = 4
"""A quarter of either is kept for tenants that have little in the queue."""
_LITTLE: Final = 64
"""A tenant with fewer appends than this has little there."""


class AppendQueue:
    """Keeps appends until the writer takes them, and counts them until they are delivered."""

    def __init__(
        self,
        put: Callable[[Token, Commit], None],
        in_hand_max: int,
        count_max: int,
        bytes_max: int = QUEUE_BYTES_MAX,
    ) -> None:
        """`put` hands an append to the writer, which has `in_hand_max` of them at most."""
        self._put = put
        self._in_hand_max = in_hand_max
        self.count_max: Final = count_max
        self.bytes_max: Final = bytes_max
        self._waiting: FairQueue[tuple[Token, Commit]] = FairQueue()
        self._in_hand = 0
        self._sizes: dict[Token, tuple[str, int]] = {}
        self._by_tenant: Counter[str] = Counter()
        self.total_bytes = 0
        """The bodies of all that is on its way."""

    @property
    def total(self) -> int:
        """How many appends are on their way: they wait, or are in the writer's hands."""
        return len(self._sizes)

    def is_full_for(self, tenant: str, size: int) -> bool:
        """Tell whether there is no room for a tenant's append with so many bytes of bodies."""
        total = len(self._sizes)
        if total < self.count_max and self.total_bytes + size <= self.bytes_max:
            return False
        if not total:
            return False
        reserve = total - self.count_max < self.count_max // _RESERVE
        room = self.total_bytes + size <= self.bytes_max + self.bytes_max // _RESERVE
        return self._by_tenant[tenant] >= _LITTLE or not reserve or not room

    def add(self, token: Token, commit: Commit, tenant: str, size: int) -> None:
        """Take an append in."""
        self._sizes[token] = tenant, size
        self._by_tenant[tenant] += 1
        self.total_bytes += size
        if self._in_hand < self._in_hand_max:
            self._in_hand += 1
            self._put(token, commit)
        else:
            self._waiting.put(tenant, (token, commit))

    def delivered(self, results: Results) -> None:
        """Forget what was delivered, and hand on as much."""
        for token, _ in results:
            tenant, size = self._sizes.pop(token)
            self.total_bytes -= size
            left = self._by_tenant[tenant] - 1
            if left:
                self._by_tenant[tenant] = left
            else:
                del self._by_tenant[tenant]
        self._in_hand -= len(results)
        while self._waiting and self._in_hand < self._in_hand_max:
            self._in_hand += 1
            self._put(*self._waiting.take())

    def hand_over(self) -> None:
        """Hand on all that waits: the writer commits it before it stops."""
        while self._waiting:
            self._in_hand += 1
            self._put(*self._waiting.take())


def size_of(commit: Commit) -> int:
    """Return how many bytes the bodies of a commit have."""
    return sum(len(event.body) for write in commit.writes for event in write.events if event.body)
