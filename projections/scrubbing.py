"""Overwrites what deleted rows leave behind in the file of a projection apart.

A full-text index only marks what is deleted, its dividing keys quote words of rows that are gone,
and pages that SQLite has rearranged keep bytes that `secure_delete` does not reach. So the index is
merged into one part, the file is written anew by VACUUM, and its log is emptied. A note beside the
file, made before the rows go, says that this is owed, whatever ends the process in between.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from .sqlite_errors import is_passing
from .views_file import connect

_INDEXES = "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%USING fts5%'"


def owe(path: Path) -> None:
    """Note that a file has to be scrubbed."""
    _note(path).touch(mode=0o600)


def is_owed(path: Path) -> bool:
    """Tell whether a file has to be scrubbed."""
    return _note(path).exists()


def acquit(path: Path) -> None:
    """Note that a file need not be scrubbed any more."""
    _note(path).unlink(missing_ok=True)


def scrub(path: Path) -> bool:
    """Overwrite what deleted rows left; False if somebody uses the file, to be tried again.

    It takes time in proportion to the file, and as much room on the disk again.

    Raises:
        sqlite3.Error: the file can't be written at all.
    """
    with closing(connect(path)) as connection:
        try:
            for (name,) in connection.execute(_INDEXES).fetchall():
                connection.execute(f"INSERT INTO {name} ({name}) VALUES ('optimize')")
            connection.execute("VACUUM")
            # It waits for readers, each of which takes seconds at most.
            is_busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.Error as error:
            if not is_passing(error):
                raise
            return False
    if not is_busy:
        acquit(path)
    return not is_busy


def _note(path: Path) -> Path:
    return path.with_suffix(".owed")
