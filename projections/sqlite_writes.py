"""Write transactions on the file of the views, which several processes share."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from .sqlite_errors import code_of

BUSY_SECONDS: Final = 5.0
POLL_SECONDS: Final = 0.001
"""How often the write lock is tried: there is nothing to be woken by when it is given up."""


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None]:
    """Make everything inside one write, or nothing of it."""
    _begin(connection)
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _begin(connection: sqlite3.Connection) -> None:
    """Take the write lock, looking for it every millisecond.

    SQLite looks ever more rarely, up to ten times a second, and would miss the short gaps between
    the steps of a rebuild.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if code_of(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(POLL_SECONDS)
    finally:
        connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
