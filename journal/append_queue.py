"""What waits for the writer: bounded by count and by bytes, and handed on tenant after tenant.

The writer gets no more at a time than it commits next, and groups are only as large as keeps
their time short, so that what comes behind a flood of one tenant is soon committed: in the next
group but one. A tenant that has little there finds room behind a
queue that others have filled, in a reserve that nobody else gets.

All of it is used on the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

from .errors import JournalError
from .fair_queue import FairQueue
from .journal import Commit
from .sqlite_writer import Result, Results, Token

QUEUE_MAX: Final = 4096
"""How many appends may wait at most, the reserve left out."""
QUEUE_BYTES_MAX: Final = 64 * 1024 * 1024
"""How many bytes of bodies may wait with them. A commit that is larger goes by itself."""
COMPUTING_S: Final = 0.004
"""How long a group is computed under a flood; twice as long where the disk is slow."""
_GROUP_MIN: Final = 16
_GROUP_FIRST: Final = 64
_TOLD_AT_ONCE: Final = 8
"""Each of those who are told goes on at once; a whole group of them would stop the loop."""
_RESERVE: Final = 4
"""A quarter of either is kept for tenants that have little in the queue."""
_NEXT: Final = 4
"""So many of a tenant's appends go into the next group, however many others wait for theirs."""
_LITTLE: Final = 64
"""A tenant with fewer appends than this has little there."""


class AppendQueue:
    """Keeps appends until the writer takes them, and counts them until they are delivered."""

    def __init__(
        self,
        put: Callable[[Token, Commit], None],
        batch_max: int,
        count_max: int,
        bytes_max: int = QUEUE_BYTES_MAX,
    ) -> None:
        """`put` hands an append to the writer, which commits at most `batch_max` at a time."""
        self._put = put
        self._batch_max = batch_max
        self._group = min(batch_max, _GROUP_FIRST)
        self.count_max: Final = count_max
        self.bytes_max: Final = bytes_max
        self._waiting: FairQueue[tuple[Token, Commit]] = FairQueue()
        self._told: FairQueue[tuple[Token, Result]] = FairQueue()
        self._is_telling = False
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
        if self._in_hand < 2 * self._group or self._by_tenant[tenant] <= _NEXT:
            self._in_hand += 1
            self._put(token, commit)
        else:
            self._waiting.put(tenant, (token, commit))

    def delivered(self, results: Results) -> None:
        """Forget what was delivered, hand on as much, and tell who waits, a few in each round."""
        for token, result in results:
            tenant, size = self._sizes.pop(token)
            self._told.put(tenant, (token, result))
            self.total_bytes -= size
            left = self._by_tenant[tenant] - 1
            if left:
                self._by_tenant[tenant] = left
            else:
                del self._by_tenant[tenant]
        self._in_hand -= len(results)
        # Twice a group: while one is committed, the next one is there already.
        while self._waiting and self._in_hand < 2 * self._group:
            self._in_hand += 1
            self._put(*self._waiting.take())

    def tell(self) -> None:
        """Tell those whose appends were delivered, tenant after tenant, the rest next round."""
        for _ in range(min(_TOLD_AT_ONCE, len(self._told))):
            future, result = self._told.take()
            if future.done():
                continue
            if isinstance(result, JournalError):
                future.set_exception(result)
            else:
                future.set_result(result)
        if self._told and not self._is_telling:
            self._is_telling = True
            asyncio.get_running_loop().call_soon(self._tell_more)

    def _tell_more(self) -> None:
        self._is_telling = False
        self.tell()

    def pace(self, count: int, computed_s: float, synced_s: float) -> None:
        """Learn what a group took: `count` appends, computed and then made durable, in seconds.

        A large group is good for the disk, and bad for whoever waits for it: so it is as large as
        can be computed in a few milliseconds, and a little larger where the disk takes longer.
        """
        # What a small one takes is mostly what any takes.
        if count >= _GROUP_MIN and computed_s > 0:
            wanted = count * min(max(COMPUTING_S, synced_s), 2 * COMPUTING_S) / computed_s
            # Half way, since one group says little.
            group = (self._group + min(wanted, 2.0 * self._batch_max)) / 2
            self._group = min(self._batch_max, max(_GROUP_MIN, int(group)))

    def hand_over(self) -> None:
        """Hand on all that waits: the writer commits it before it stops."""
        while self._waiting:
            self._in_hand += 1
            self._put(*self._waiting.take())


def size_of(commit: Commit) -> int:
    """Return how many bytes the bodies of a commit have."""
    return sum(len(event.body) for write in commit.writes for event in write.events if event.body)
