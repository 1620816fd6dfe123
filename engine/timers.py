"""Wakes somebody at a given time: the one place where the engine waits for the clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from ..journal.clock import Clock


class Timers(Protocol):
    """Calls back at a time, in microseconds UTC, on the event loop's thread."""

    def call_at(self, due_us: int, callback: Callable[[], None]) -> Callable[[], None]:
        """Arrange a call and return the function that cancels it."""
        ...


class LoopTimers:
    """Timers on the event loop's own clock, checked against the wall clock when they fire."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def call_at(self, due_us: int, callback: Callable[[], None]) -> Callable[[], None]:
        """Arrange a call and return the function that cancels it."""
        loop = asyncio.get_running_loop()
        handle: asyncio.TimerHandle | None = None

        def fire() -> None:
            # The machine may have slept or its clock been set back: wait on for the difference.
            nonlocal handle
            left = due_us - self._clock.now_us()
            if left <= 0:
                callback()
            else:
                handle = loop.call_later(left / 1e6 + 0.001, fire)

        def cancel() -> None:
            assert handle is not None
            handle.cancel()

        handle = loop.call_later(max(0, due_us - self._clock.now_us()) / 1e6, fire)
        return cancel
