"""What every node may say beside its configuration: tolerance, retries, timeout, delivery."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

SECOND_US = 1_000_000
RETRY_INTERVAL_S_MAX = 24 * 3600
TIMEOUT_S_MAX = 365 * 86_400


class RetryPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often a failed node is tried again, and how long it waits in between."""

    max_attempts: Annotated[int, Meta(ge=1, le=100)]
    """Attempts in all, the first one included."""
    initial_interval: Annotated[float, Meta(ge=0, le=RETRY_INTERVAL_S_MAX)] = 1.0
    """Seconds before the second attempt."""
    backoff: Annotated[float, Meta(ge=1, le=10)] = 2.0
    """What the interval is multiplied with after each attempt."""
    max_interval: Annotated[float, Meta(ge=0, le=RETRY_INTERVAL_S_MAX)] = 60.0
    """Seconds that an interval never exceeds."""
    on: list[Annotated[str, Meta(min_length=1, max_length=64)]] = []
    """The error codes that are retried; empty means all."""

    def wait_us(self, attempt: int) -> int:
        """Return the wait after a failed attempt (counted from 1), in microseconds."""
        seconds = min(self.initial_interval * self.backoff ** (attempt - 1), self.max_interval)
        return int(seconds * SECOND_US)

    def covers(self, code: str, attempt: int) -> bool:
        """Tell whether a failure with this code, at this attempt, is tried again."""
        return attempt < self.max_attempts and (not self.on or code in self.on)


class NodePolicy(msgspec.Struct, frozen=True):
    """The fields of a node's `data` that hold for every component."""

    description: str | None = None
    continue_on_error: bool = False
    retry: RetryPolicy | None = None
    timeout: Annotated[float, Meta(gt=0, le=TIMEOUT_S_MAX)] | None = None
    """Seconds an attempt may take; the service's own limit holds beside it.

    For a `form` it is how long the form stays open, which no other limit shortens.
    """
    delivery: Literal["at_least_once", "at_most_once"] = "at_least_once"
    """Whether a call that a crash cut off is made again."""
