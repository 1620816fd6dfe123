"""A queue that serves its keys in turn: one key's flood holds up nobody else's few. Pure.

Within a key the order is that of arrival. Whoever waits with a single item is served after at
most one item of each other key, however many these have.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items by key, taken round robin."""

    __slots__ = ("_lanes", "_total")

    def __init__(self) -> None:
        self._lanes: OrderedDict[str, deque[T]] = OrderedDict()
        self._total = 0

    def __len__(self) -> int:
        """How many items wait."""
        return self._total

    def count(self, key: str) -> int:
        """Return how many items of a key wait."""
        lane = self._lanes.get(key)
        return 0 if lane is None else len(lane)

    def put(self, key: str, item: T) -> None:
        """Add an item behind those of its key; a key that had none is served last of all."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = deque()
        lane.append(item)
        self._total += 1

    def take(self) -> T:
        """Take the first item of the key whose turn it is.

        Raises:
            IndexError: nothing waits.
        """
        if not self._total:
            raise IndexError("nothing waits")
        key, lane = next(iter(self._lanes.items()))
        return self._taken(key, lane)

    def take_if(self, may: Callable[[str], bool]) -> T | None:
        """Take the first item of the next key that may have a turn now; None if none may.

        Keys that are passed over keep their place before those that were served since.
        """
        for key, lane in self._lanes.items():
            if may(key):
                return self._taken(key, lane)
        return None

    def _taken(self, key: str, lane: deque[T]) -> T:
        item = lane.popleft()
        self._total -= 1
        if lane:
            self._lanes.move_to_end(key)
        else:
            del self._lanes[key]
        return item
