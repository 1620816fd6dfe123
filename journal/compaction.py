"""Rewrites the journal's file after bodies left it, and remembers that this is still to be done.

Bodies that shrink make SQLite move the rows beside them, and old bytes of those stay in the gaps
of pages, where no later erasure would find them. VACUUM copies what is there, and nothing else.
So before the first body goes, a marker is put into the data directory; whoever opens the journal
and finds it rewrites the file first, and `refold archive` removes it when all is done.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from .checkpoint_keys import replace_file
from .errors import StoreFailedError
from .files import sync_directory
from .sqlite_file import JOURNAL_FILE, translated, writer_uri

MARKER: Final = "archive.unfinished"


class Unfinished(msgspec.Struct, frozen=True):
    """An archiving that has begun to release bodies."""

    folder: str
    """Where its segments are."""
    is_compact: bool
    """True where the file was rewritten after the last body went."""


def unfinished(directory: Path) -> Unfinished | None:
    """Return what an interrupted archiving left to be done, None if nothing.

    Raises:
        StoreFailedError: the marker can't be read.
    """
    path = directory / MARKER
    try:
        return msgspec.json.decode(path.read_bytes(), type=Unfinished)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise StoreFailedError(f"{path} can't be used ({type(error).__name__})") from error


def begin(directory: Path, folder: Path) -> None:
    """Note that bodies are about to go."""
    _mark(directory, Unfinished(str(folder.absolute()), is_compact=False))


def end(directory: Path) -> None:
    """Note that everything is done."""
    with translated(directory / MARKER):
        (directory / MARKER).unlink(missing_ok=True)
        sync_directory(directory)


def compact_if_begun(directory: Path) -> None:
    """Rewrite the file if bodies left it since it was rewritten last. Holds the owner's lock.

    Raises:
        StoreFailedError: there is no room for a second copy of the file.
    """
    left = unfinished(directory)
    if left is None or left.is_compact:
        return
    path = directory / JOURNAL_FILE
    # SQLite's copy holds bodies too, so it stands where the journal stands.
    os.environ.setdefault("SQLITE_TMPDIR", str(directory.absolute()))
    with (
        translated(path),
        closing(sqlite3.connect(writer_uri(path), uri=True, isolation_level=None)) as connection,
    ):
        connection.execute("PRAGMA secure_delete = 1")
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    _mark(directory, Unfinished(left.folder, is_compact=True))


def _mark(directory: Path, left: Unfinished) -> None:
    with translated(directory / MARKER):
        replace_file(directory / MARKER, msgspec.json.encode(left))
