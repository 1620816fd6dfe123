"""Ends a built-in fold that does not come back, so that the projections beside it go on.

The built-in folds share the projector's thread, and a thread can't be ended from outside; an
exception can be raised in it. What is measured is the processor time of that thread: a machine that
is busy, or was halted, is no fault of a fold. A loop in C that keeps Python to itself is out of
reach: then the whole process stands still, and who watches `/healthz` has to start it again.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

from .errors import FoldTooSlowError

BUILT_IN_SECONDS: Final = 5.0
"""How much processor time the folds of one step may take: what takes hundredths of a second."""
_LOOKS: Final = 5
"""How often it is looked within that time."""


class FoldLimit:
    """A `with` block for folds, on one thread, in which `FoldTooSlowError` is raised in time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._thread = 0
        self._clock: Callable[[], float] = time.monotonic
        self._began: float | None = None
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="fold limit", daemon=True)

    def start(self) -> None:
        """Watch the thread that calls this from here on."""
        self._thread = threading.get_ident()
        self._clock = _clock_of(self._thread)
        self._watcher.start()

    def stop(self) -> None:
        """Watch no more. Blocks for a moment at most."""
        self._stopping.set()
        if self._watcher.ident is not None:
            self._watcher.join()

    def __enter__(self) -> None:
        """Begin with some folds."""
        self._began = self._clock()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End with them."""
        self._began = None

    def _watch(self) -> None:
        while not self._stopping.wait(self._seconds / _LOOKS):
            began = self._began
            if began is not None and self._clock() - began > self._seconds:
                # Not a second time for the same folds.
                self._began = None
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._thread), ctypes.py_object(FoldTooSlowError)
                )


def _clock_of(thread: int) -> Callable[[], float]:
    """Return what tells the processor time of a thread, where the system tells it of another's."""
    find = getattr(time, "pthread_getcpuclockid", None)
    if find is None:
        return time.monotonic
    clock: int = find(thread)
    return lambda: time.clock_gettime(clock)
