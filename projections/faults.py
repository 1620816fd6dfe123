"""Why a projection stands still, told without a word of what it was folding.

The text of an exception may quote a body, so a fault names the event, the kind of the exception
and the lines of code that it passed; texts of SQLite name tables and columns, and are kept.
"""

from __future__ import annotations

import sqlite3
import traceback
from pathlib import PurePath
from typing import Final

import msgspec

from ..journal.envelope import Recorded
from .errors import ProjectionError

_HERE: Final = PurePath(__file__).parent
_FRAMES_MAX: Final = 4
_TEXT_MAX: Final = 300


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What stopped a projection."""

    code: str
    """Stable: `poison_event`, `fold_too_slow`, `changed_fold`, `projection_refused` and others."""
    message: str
    position: int = 0
    """The event that could not be folded, 0 where it isn't about one."""
    type: str = ""
    """The type of that event."""


POISON: Final = "poison_event"
TOO_SLOW: Final = "fold_too_slow"
ENDED: Final = "process_ended"


def poison(event: Recorded, error: Exception) -> Fault:
    """Say that an event could not be folded."""
    code = error.code if isinstance(error, ProjectionError) else POISON
    return Fault(code=code, message=told(error), position=event.position, type=event.facts.type)


def fault_of(error: Exception) -> Fault:
    """Say why a projection stopped, where it is about no event."""
    code = error.code if isinstance(error, ProjectionError) else ENDED
    return Fault(code=code, message=told(error))


def told(error: Exception) -> str:
    """Tell an exception in one line: its own words only where nobody's data can be in them."""
    if isinstance(error, ProjectionError | sqlite3.Error):
        said = " ".join(str(error).split())
        kind = "" if isinstance(error, ProjectionError) else f"{type(error).__name__}: "
        return f"{kind}{said}"[:_TEXT_MAX]
    passed = traceback.extract_tb(error.__traceback__)
    # Who called the fold is the same each time; the built-in folds live where this file does.
    theirs = [f for f in passed if PurePath(f.filename).parent != _HERE]
    frames = (theirs or passed)[-_FRAMES_MAX:]
    places = ", ".join(f"{PurePath(f.filename).name}:{f.lineno} in {f.name}" for f in frames)
    return f"{type(error).__name__} at {places}" if places else type(error).__name__


def in_one_line(fault: Fault) -> str:
    """Tell a fault in one line, with the event that it is about."""
    if not fault.position:
        return fault.message
    event = fault.type or "the event"
    return f"{event} at position {fault.position}: {fault.message}"
