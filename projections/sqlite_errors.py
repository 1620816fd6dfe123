"""What an error of SQLite means for the file of the views."""

from __future__ import annotations

import sqlite3
from typing import Final

_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PASSING: Final = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_LOCKED}
)


def is_damage(error: BaseException) -> bool:
    """Tell a file that must be thrown away."""
    return code_of(error) in _DAMAGED


def is_passing(error: BaseException) -> bool:
    """Tell a failure that may be gone a moment later: a full disk, a lock held too long."""
    return code_of(error) in _PASSING


def is_absent(error: BaseException) -> bool:
    """Tell a file that can't be opened, because it is gone."""
    return code_of(error) == sqlite3.SQLITE_CANTOPEN


def code_of(error: BaseException) -> int:
    """Return SQLite's primary result code, 0 for another error."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
