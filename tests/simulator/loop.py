"""An event loop without threads, files or waiting, which counts its steps and can be killed.

One step is one callback: the start of a task, its resumption after an await, a timer, a future's
listener. Between any two of them the process may be killed. Time passes only when nobody can go
on. What the service does on threads is done here, as a step of its own.
"""

from __future__ import annotations

import asyncio
import heapq
from asyncio import Handle, TimerHandle
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple, Unpack

from refold.journal.clock import SystemClock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
NEVER = 1 << 62
ZOMBIE_STEPS_MAX = 20_000


class KilledError(BaseException):
    """The process ended here, as by SIGKILL."""


class StuckError(Exception):
    """Everybody waits, and for nothing that could ever happen."""


class TooLongError(Exception):
    """The time or the steps that were given are over."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """See the head of this file. Single-threaded; made for one life of one process."""

    _is_at_work = False

    def __init__(self, now_s: float = 0.0) -> None:
        super().__init__()
        self.now_s = now_s
        self.steps = 0
        self.kill_at: float = NEVER
        """The step after which the process is killed."""
        self._handler: Any = None
        self.faults: list[str] = []
        """What nobody caught."""
        self._ready: deque[Handle] = deque()
        self._timers: list[tuple[float, int, TimerHandle]] = []
        self._timers_total = 0
        self._closed = False

    # What asyncio asks of a loop

    def time(self) -> float:
        """Return the seconds since the world began."""
        return self.now_s

    def get_debug(self) -> bool:
        """Return False: debugging costs time."""
        return False

    def is_running(self) -> bool:
        """Tell whether it runs."""
        return self._is_at_work

    def is_closed(self) -> bool:
        """Tell whether it was closed."""
        return self._closed

    def close(self) -> None:
        """Drop what was not run."""
        self._closed = True
        self._ready.clear()
        self._timers.clear()

    def create_future(self) -> asyncio.Future[Any]:
        """Make a future."""
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> asyncio.Task[Any]:
        """Make a task."""
        return asyncio.Task(coro, loop=self, name=name or "task", context=context)

    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> Handle:
        """Run a callback after those that wait already."""
        handle = Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> Handle:
        """Run a callback after those that wait already: there are no other threads."""
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> TimerHandle:
        """Run a callback after some seconds."""
        return self.call_at(self.now_s + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> TimerHandle:
        """Run a callback at a time of the loop."""
        timer = TimerHandle(when, callback, args, self, context)
        self._timers_total += 1
        heapq.heappush(self._timers, (when, self._timers_total, timer))
        return timer

    def _timer_handle_cancelled(self, handle: TimerHandle) -> None:
        """Hear that a timer means nothing any more; it is dropped when its time comes."""

    def run_in_executor(
        self, executor: Any, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Do what would be done on a thread as a step of its own."""
        del executor
        future: asyncio.Future[T] = self.create_future()

        def run() -> None:
            if future.cancelled():
                return
            try:
                future.set_result(func(*args))
            except Exception as error:
                future.set_exception(error)

        self.call_soon(run)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Note what nobody caught, unless somebody wants to hear of it."""
        if self._handler is not None:
            self._handler(self, context)
            return
        self.faults.append(f"{context.get('message')}: {context.get('exception')!r}")

    def set_exception_handler(self, handler: Any) -> None:
        """Let somebody hear of what nobody caught."""
        self._handler = handler

    # Running

    def run_until(self, future: asyncio.Future[T], *, steps: int = NEVER, until: float = 1e18) -> T:
        """Run until a future is done.

        Raises:
            KilledError: the step of `kill_at` was done.
            StuckError: nothing can happen any more.
            TooLongError: `steps` more were done, or the time `until` has come.
        """
        last = self.steps + steps
        asyncio._set_running_loop(self)  # pyright: ignore[reportPrivateUsage]
        self._is_at_work = True
        try:
            while not future.done():
                self._run_step(until)
                if self.steps >= self.kill_at:
                    raise KilledError
                if self.steps >= last:
                    raise TooLongError(f"{steps} steps were not enough")
        finally:
            self._is_at_work = False
            asyncio._set_running_loop(None)  # pyright: ignore[reportPrivateUsage]
        return future.result()

    def _run_step(self, until: float) -> None:
        ready, timers = self._ready, self._timers
        while True:
            while timers and (timers[0][2].cancelled() or timers[0][0] <= self.now_s):
                timer = heapq.heappop(timers)[2]
                if not timer.cancelled():
                    ready.append(timer)
            if ready:
                break
            if not timers:
                raise StuckError("all tasks wait and no timer is set")
            if timers[0][0] > until:
                raise TooLongError(f"the time is {self.now_s:.3f} s and nothing is done")
            self.now_s = timers[0][0]
        handle = ready.popleft()
        if not handle.cancelled():
            self.steps += 1
            handle._run()  # pyright: ignore[reportPrivateUsage]

    def bury(self) -> None:
        """Let the tasks of a killed process unwind, when nothing they do reaches the world."""
        self.kill_at = NEVER
        tasks = [task for task in asyncio.all_tasks(self) if not task.done()]
        if tasks:
            for task in tasks:
                task.cancel()
            try:
                gathered = asyncio.gather(*tasks, return_exceptions=True)
                self.run_until(gathered, steps=ZOMBIE_STEPS_MAX)
            except (StuckError, TooLongError):
                self.faults.append("a killed process did not unwind")
        self.close()


class LoopClock(SystemClock):
    """The loop's time as the service's clock."""

    def __init__(self, loop: SimulatedLoop, start_us: int) -> None:
        super().__init__()
        self._loop = loop
        self._start_us = start_us

    def now_us(self) -> int:
        """Return the present time in microseconds."""
        return self._start_us + round(self._loop.now_s * 1e6)
