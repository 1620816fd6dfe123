"""An event loop on which time costs nothing: when nobody can go on, the clock jumps."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from refold.journal.clock import Clock

START_US = 1_761_912_000_000_000
T = TypeVar("T")


class StuckError(Exception):
    """Everybody waits, and for nothing that could ever happen."""


class _Jumping(selectors.DefaultSelector):
    """A selector that never waits: it moves the time on instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise StuckError("all tasks wait and no timer is set")
        self.now_s += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop without files, whose time passes only when nothing else is to be done."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)
        # A year in seconds leaves a float no nanoseconds, which is what loops count in.
        self._clock_resolution = 1e-7

    def time(self) -> float:
        """Return the seconds since the loop was made."""
        return self._jumping.now_s


class VirtualClock(Clock):
    """The loop's time as a clock, beginning at a given one."""

    def __init__(self, start_us: int = START_US) -> None:
        self.start_us = start_us
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()

    def now_us(self) -> int:
        """Return the present time in microseconds."""
        return self.start_us + round((self._loop.time() - self._since) * 1e6)


def run_virtually(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end on a loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)
