"""How often something may happen: a rate with a burst of one second's worth, by key. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

KEYS_MAX: Final = 20_000
"""How many keys are remembered; one that is forgotten begins with a whole burst."""


class Rates:
    """Counts by key what happens (generic cell rate algorithm: one number a key)."""

    def __init__(self, per_second: int) -> None:
        """`per_second` is the rate and the burst; 0 is no limit."""
        self._interval_us = 1e6 / per_second if per_second else 0.0
        self._due: OrderedDict[str, float] = OrderedDict()
        """When each key would be served if all went at exactly the rate, in microseconds."""

    @property
    def is_limited(self) -> bool:
        """False where everything may happen at any rate."""
        return self._interval_us > 0

    def take(self, key: str, now_us: int) -> float:
        """Count one; return 0, or in how many seconds to ask again, and then nothing is counted.

        `now_us` is a time in microseconds; one before that of the last call changes nothing.
        """
        if not self._interval_us:
            return 0.0
        due = max(self._due.get(key, 0.0), now_us)
        # A second's worth may come at once, and one more only when its time has come.
        wait_us = due - now_us - (1e6 - self._interval_us)
        if wait_us > 1e-3:
            return wait_us / 1e6
        self._due[key] = due + self._interval_us
        self._due.move_to_end(key)
        if len(self._due) > KEYS_MAX:
            self._due.popitem(last=False)
        return 0.0
