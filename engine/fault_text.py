"""What a log may say of an unexpected exception: where it came from, never what it says.

The text of an exception may quote a request, a header or a secret, and so may those of the
exceptions behind it. So no log of the engine holds one: a fault is told by its kinds and places.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio

FRAMES_MAX: Final = 8
"""How many places of one exception are told, the innermost."""
_CHAIN_MAX: Final = 5
_log = logging.getLogger("refold.engine")


def fault_text(error: BaseException) -> str:
    """Tell an exception in one line: its kind, the places it passed, and what it was raised from.

    A place is file, line and function: `ValueError at calls.py:120 in perform, outbound.py:77 in
    request; from KeyError at …`.
    """
    return "; from ".join(_one(fault) for fault in _chain(error))


def log_loop_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what nobody waited for; to be set as the event loop's exception handler.

    The loop's own handler would print texts of exceptions and the objects that they belong to.
    """
    del loop
    error = context.get("exception")
    what = fault_text(error) if isinstance(error, BaseException) else "no exception"
    _log.error("unexpected in the event loop: %s", what)


def silence_log(name: str) -> None:
    """Let nothing of a library's own log out: it may quote what was sent, or what came back."""
    logger = logging.getLogger(name)
    logger.propagate = False
    if not logger.handlers:
        # Without a handler of its own, warnings would go to standard error.
        logger.addHandler(logging.NullHandler())


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    for _ in range(_CHAIN_MAX):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)


def _one(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]
    places = ", ".join(f"{PurePath(f.filename).name}:{f.lineno} in {f.name}" for f in frames)
    return f"{type(error).__name__} at {places}" if places else type(error).__name__
